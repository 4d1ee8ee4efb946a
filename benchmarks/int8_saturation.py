"""Show which int8 weights saturate in ONNX Runtime and OpenVINO on this processor. It takes some seconds.

    .venv-engines/bin/python benchmarks/int8_saturation.py

A convolution meets an image whose numbers are all 255, in uint8. Its weights repeat a pattern along the input channels.
The record holds how far the output is from the exact one, in percent of it. Processors with VNNI have no error.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from parckit.measure.records import write_record
from parckit.runtimes.onnxruntime import load_graph

RECORD = Path(__file__).parent / "records" / "int8_saturation.json"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni")
PATTERNS = ((127, 127), (64, 64), (127, 1), (127, -127), (127, 127, 0, 0), (0, 127, 127, 0))
LAYERS: Mapping[str, tuple[int, int, int]] = {"pointwise": (64, 1, 1), "3x3": (64, 3, 1), "depthwise 3x3": (1, 3, 32)}
"""Name -> input channels of a group, side of the kernel, groups."""
PIXEL = 255
SIDE = 8


def main() -> None:
    """Run, print and record."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = [
        {"layer": layer, "weights": list(pattern), **errors(pattern_of(pattern, layer), LAYERS[layer][2])}
        for layer in LAYERS
        for pattern in PATTERNS
        if LAYERS[layer][0] > 1 or len(set(pattern)) == 1
    ]
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    results = {"rows": rows, "flags": {flag: flag in words for flag in FLAGS}}
    print(json.dumps(results, indent=1))
    write_record(RECORD, "int8_saturation", results, seed=None, threads=1)


def pattern_of(pattern: tuple[int, ...], layer: str) -> NDArray[np.int8]:
    """Return weights whose input channels repeat a pattern."""
    chans, side, _ = LAYERS[layer]
    row = np.resize(np.array(pattern, np.int8), chans)
    return np.tile(row[None, :, None, None], (32, 1, side, side))


def errors(weights: NDArray[np.int8], groups: int) -> dict[str, float]:
    """Return engine -> difference from the exact result, in percent of the sum of the absolute products."""
    from parckit.runtimes.openvino import compile_graph  # noqa: PLC0415  # it imports the engine

    exact = float(weights[0].astype(np.int64).sum() * PIXEL)
    whole = float(np.abs(weights[0].astype(np.int64)).sum() * PIXEL)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        image = np.full((1, weights.shape[1] * groups, SIDE, SIDE), PIXEL, np.float32)
        onnx.save(graph_of(weights, groups, step=whole / 120, shape=image.shape), file)
        outputs = {
            "onnxruntime": load_graph(file, threads=1).run(None, {"image": image})[0],
            "openvino": compile_graph(file, precision="int8", threads=1)(image)[0],
        }
    middle = SIDE // 2
    return {
        engine: round(100 * abs(float(np.asarray(output)[0, 0, middle, middle]) - exact) / whole, 1)
        for engine, output in outputs.items()
    }


def graph_of(weights: NDArray[np.int8], groups: int, *, step: float, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return a quantized convolution; `step` is the scale of its output."""
    side = weights.shape[2]
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "weights": weights,
        "ones": np.ones(len(weights), np.float32),
        "zeros": np.zeros(len(weights), np.int8),
        "step": np.float32(step),
        "middle": np.uint8(128),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "one", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["weights", "ones", "zeros"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"], pads=[side // 2] * 4, group=groups),
        helper.make_node("QuantizeLinear", ["c", "step", "middle"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "middle"], ["y"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "convolution", [image], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


if __name__ == "__main__":
    main()
