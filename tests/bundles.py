"""A bundle whose logits are known by hand: the mean of each colour channel, times a matrix."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parckit.contract import (
    Artefact,
    Calibration,
    Check,
    Contract,
    DecoderSpec,
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


def write_tiny_graph(path: Path, *, batch: int | str = 1, ballast: int = 0) -> None:
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


def add_raw_pixels(bundle: Path, *, made_in: Path) -> Path:
    """Add the artefact `raw-pixels` to a tiny bundle: uint8 in NHWC layout, with the normalisation inside."""
    made_in.mkdir()
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *SIZE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(LABELS)])
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["shares"]),
        helper.make_node("ReduceMean", ["shares"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["logits"]),
    ]
    weights = {"white": np.array(255, np.float32), "weight": WEIGHT}
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "raw", [image], [logits], initializers)
    file = made_in / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), file)
    artefact = replace(
        tiny_artefact(file, name="raw-pixels"),
        files={"model.onnx": sha256_of(file)},
        input=InputSpec(dtype="uint8", layout="NHWC", shape=(1, *SIZE, 3), normalised_inside=True),
    )
    add_artefact(bundle, artefact, made_in=made_in)
    return bundle


def write_detector_bundle(folder: Path) -> Contract:
    """Write two ONNX files of one invented detector: raw maps of raw pixels, and boxes as after a suppression.

    The first one is said to be int8 and was not checked. The pixels themselves serve as scores, boxes and detections.
    """
    spec = replace(tiny_spec(), task="detect", head="invented", head_kwargs={"strides": [8, 16]})
    for name in ("raw", "nms"):
        (folder / name).mkdir(parents=True)
    _write_raw_maps(folder / "raw" / "model.onnx")
    _write_detections(folder / "nms" / "model.onnx")
    raw = Artefact(
        name="raw",
        format="onnx",
        precision="int8",
        files={"raw/model.onnx": sha256_of(folder / "raw" / "model.onnx")},
        input=InputSpec(dtype="uint8", layout="NHWC", shape=(None, 4, 6, 3), normalised_inside=True),
        outputs=(
            OutputSpec(name="scores", dtype="float32", layout="NAC", shape=(None, 24, 3)),
            OutputSpec(name="boxes", dtype="float32", layout="NAX", shape=(None, 18, 4)),
        ),
        decoder=DecoderSpec(name="invented", parameters={"strides": [8, 16]}, defaults={"score": 0.3, "iou": 0.5}),
        calibration=Calibration(method="percentile", count=1, sha256=("0" * 64,)),
        checks=(Check(engine="onnxruntime", passed=None, reason="no engine with this operator here"),),
    )
    nms = replace(
        raw,
        name="nms",
        precision="fp32",
        files={"nms/model.onnx": sha256_of(folder / "nms" / "model.onnx")},
        input=InputSpec(shape=(1, 3, *SIZE)),
        outputs=(OutputSpec(name="detections", dtype="float32", layout="DX", shape=(None, 6)),),
        calibration=None,
        checks=(Check(engine="onnxruntime", version="1.0", passed=True, figures={"max_abs": 0.0}),),
    )
    contract = Contract(spec=spec, artefacts=(raw, nms), params=1, madds=1, versions={})
    write_contract(contract, folder)
    return contract


def _write_raw_maps(path: Path) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SIZE, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 24, 3])
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 18, 4])
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "of_scores"], ["scores"]),
        helper.make_node("Reshape", ["pixels", "of_boxes"], ["boxes"]),
    ]
    _save_reshapes(path, nodes, [image], [scores, boxes], of_scores=(-1, 24, 3), of_boxes=(-1, 18, 4))


def _write_detections(path: Path) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])
    detections = helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["found", 6])
    nodes = [helper.make_node("Reshape", ["image", "of_detections"], ["detections"])]
    _save_reshapes(path, nodes, [image], [detections], of_detections=(-1, 6))


def _save_reshapes(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **shapes: tuple[int, ...],
) -> None:
    initializers = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "invented", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
