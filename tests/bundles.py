"""A bundle whose logits are known by hand: the mean of each colour channel, times a matrix."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parckit.contract import (
    MODEL_FILE,
    Contract,
    ModelSpec,
    Parity,
    Preprocessing,
    TensorSpec,
    sha256_of,
    write_contract,
)

LABELS = ("ant", "bee", "cat", "dog")
SIZE = (4, 6)
WEIGHT = np.random.default_rng(0).standard_normal((3, len(LABELS))).astype(np.float32)


def tiny_spec(size: tuple[int, int] = SIZE) -> ModelSpec:
    return ModelSpec(model="test_parcnet", labels=LABELS, preprocessing=Preprocessing(size=size))


def expected_logits(images: np.ndarray) -> np.ndarray:
    return images.mean((2, 3)) @ WEIGHT


def write_tiny_bundle(folder: Path, *, batch: int = 1, ballast: int = 0) -> Path:
    """Write the bundle; `ballast` numbers of weights more make it heavy without changing what it computes."""
    folder.mkdir(parents=True, exist_ok=True)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(LABELS)])
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["product"]),
        # The ballast meets the image, or the engine would fold it away.
        helper.make_node("MatMul", ["means", "ballast"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros", "axis"], ["zero"]),
        helper.make_node("Add", ["product", "zero"], ["logits"]),
    ]
    weights = {
        "weight": WEIGHT,
        "ballast": np.zeros((3, max(ballast // 3, 1)), np.float32),
        "axis": np.array([1], np.int64),
    }
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [image], [logits], initializers)
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=7), folder / MODEL_FILE)
    write_contract(_contract(folder, batch), folder)
    return folder


def _contract(folder: Path, batch: int) -> Contract:
    return Contract(
        task="classify",
        spec=tiny_spec(),
        input=TensorSpec(name="image", dtype="float32", layout="NCHW", shape=(batch, 3, *SIZE)),
        outputs=(TensorSpec(name="logits", dtype="float32", layout="NC", shape=(batch, len(LABELS))),),
        opset=13,
        ir_version=7,
        params=WEIGHT.size,
        madds=WEIGHT.size,
        parity=Parity(max_abs=0.0, tolerance=1e-6, images=1, runtime="by hand"),
        peak_memory_bytes=1,
        versions={},
        sha256={MODEL_FILE: sha256_of(folder / MODEL_FILE)},
    )
