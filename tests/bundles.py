"""A bundle whose logits are known by hand: the mean of each colour channel, times a matrix."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parckit.contract import (
    Artefact,
    Check,
    Contract,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    Preprocessing,
    add_artefact,
    sha256_of,
    write_contract,
)
from parckit.processing import CLASSIFY

LABELS = ("ant", "bee", "cat", "dog")
SIZE = (4, 6)
WEIGHT = np.random.default_rng(0).standard_normal((3, len(LABELS))).astype(np.float32)
MODEL = "onnx-fp32/model.onnx"
"""The file of the bundle's only artefact."""


def tiny_spec(size: tuple[int, int] = SIZE) -> NetworkSpec:
    return NetworkSpec(backbone="test_parcnet", labels=LABELS, preprocessing=Preprocessing(size=size))


def expected_logits(images: np.ndarray) -> np.ndarray:
    return images.mean((2, 3)) @ WEIGHT


def write_tiny_bundle(folder: Path, *, batch: int = 1, ballast: int = 0) -> Path:
    """Write the bundle; `ballast` numbers of weights more make it heavy without changing what it computes."""
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    write_tiny_graph(folder / MODEL, batch=batch, ballast=ballast)
    artefact = tiny_artefact(folder / MODEL, batch=batch)
    contract = Contract(
        spec=tiny_spec(), artefacts=(artefact,), params=WEIGHT.size, madds=WEIGHT.size, versions={"parckit": "0"}
    )
    write_contract(contract, folder)
    return folder


def add_pairs(bundle: Path, *, made_in: Path) -> Path:
    """Add the artefact `pairs` to a tiny bundle: for two images at once, and, as it says of itself, in int8."""
    made_in.mkdir()
    file = made_in / "model.onnx"
    write_tiny_graph(file, batch=2)
    files = {"model.onnx": sha256_of(file)}
    add_artefact(
        bundle, replace(tiny_artefact(file, batch=2, name="pairs"), precision="int8", files=files), made_in=made_in
    )
    return bundle


def write_tiny_graph(path: Path, *, batch: int = 1, ballast: int = 0) -> None:
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
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=7), path)


def tiny_artefact(file: Path, *, batch: int = 1, name: str = "onnx-fp32") -> Artefact:
    return Artefact(
        name=name,
        format="onnx",
        precision="fp32",
        files={MODEL: sha256_of(file)},
        input=InputSpec(shape=(batch, 3, *SIZE)),
        outputs=(OutputSpec(name="logits", dtype="float32", layout="NC", shape=(batch, len(LABELS))),),
        decoder=CLASSIFY,
        options={"opset": 13, "ir_version": 7, "form": "auto"},
        checks=(
            Check(
                engine="onnxruntime",
                version="by hand",
                passed=True,
                figures={"max_abs": 0.0, "tolerance": 1e-6, "images": 1, "peak_memory_bytes": 1},
            ),
        ),
    )
