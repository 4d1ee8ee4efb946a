"""A bundle with a tiny convolutional classifier, written by hand: what quantization needs, in a millisecond."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundles import tiny_artefact
from parckit.contract import Contract, NetworkSpec, Preprocessing, sha256_of, write_contract
from parckit.deploy.quantize import QuantizeSettings
from pictures import write_pictures

SIZE = (8, 8)
COLOURS = ("blue", "green", "red")
FEW = QuantizeSettings(seconds=0, samples=12, calibrator="minmax", least_agreement=0.5, accepted_drop=100)


def conv_graph(*, opset: int = 18, seed: int = 0, width: int = 8) -> onnx.ModelProto:
    """Return image -> conv, SiLU, depthwise conv, ReLU, pointwise conv, residual sum, gate, matrix -> three logits.

    All weights are random.
    """
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, 3, 3, 3)) / 4
    weights = {
        "w1": mix,
        "b1": rng.standard_normal(width) / 4,
        "w2": rng.standard_normal((width, 1, 3, 3)) / 2,
        "b2": rng.standard_normal(width) / 4,
        "w3": rng.standard_normal((width, width, 1, 1)) / 3,
        "wg": rng.standard_normal((width, width, 1, 1)),
        "wf": rng.standard_normal((3, width)),
        "bf": rng.standard_normal(3) / 4,
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["conv1"], "first", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Sigmoid", ["conv1"], ["sigmoid"], "sigmoid"),
        helper.make_node("Mul", ["conv1", "sigmoid"], ["silu"], "silu"),
        helper.make_node("Conv", ["silu", "w2", "b2"], ["conv2"], "depthwise", pads=[1, 1, 1, 1], group=width),
        helper.make_node("Relu", ["conv2"], ["relu"], "relu"),
        helper.make_node("Conv", ["relu", "w3"], ["conv3"], "pointwise"),
        helper.make_node("Add", ["conv3", "silu"], ["sum"], "sum"),
        helper.make_node("GlobalAveragePool", ["sum"], ["squeezed"], "squeeze"),
        helper.make_node("Conv", ["squeezed", "wg"], ["excited"], "gate"),
        helper.make_node("HardSigmoid", ["excited"], ["share"], "share"),
        helper.make_node("Mul", ["sum", "share"], ["gated"], "scale"),
        helper.make_node("GlobalAveragePool", ["gated"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "wf", "bf"], ["logits"], "head", transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "conv", [image], [logits], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def spoil(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Let one channel between two convolutions be huge, so that 8 bits leave nothing of the others."""
    for constant in graph.graph.initializer:
        numbers = np.array(numpy_helper.to_array(constant))
        if constant.name in ("w2", "b2"):
            numbers[0] = 1e4 * np.abs(numbers[0])
        if constant.name == "w3":
            numbers[:, 0] *= 1e-6
        constant.CopyFrom(numpy_helper.from_array(numbers, constant.name))
    return graph


def write_conv_bundle(folder: Path, graph: onnx.ModelProto | None = None) -> Path:
    """Write a bundle with the graph as its artefact `onnx-fp32`."""
    file = folder / "onnx-fp32" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(conv_graph() if graph is None else graph, file)
    artefact = tiny_artefact(file)
    artefact = replace(
        artefact,
        input=replace(artefact.input, shape=(1, 3, *SIZE)),
        outputs=(replace(artefact.outputs[0], shape=(1, 3)),),
        options={"opset": 18, "ir_version": 8, "form": "auto"},
        files={"onnx-fp32/model.onnx": sha256_of(file)},
    )
    spec = NetworkSpec(backbone="test_parcnet", labels=COLOURS, preprocessing=Preprocessing(size=SIZE))
    write_contract(Contract(spec=spec, artefacts=(artefact,), params=1, madds=1, versions={}), folder)
    return folder


def write_colours(folder: Path) -> Path:
    """Write class folders with 20 pictures of noise for each colour in `train`, and 5 others in `test`."""
    write_pictures(folder / "train", count=20)
    write_pictures(folder / "test", count=5, seed=1)
    return folder
