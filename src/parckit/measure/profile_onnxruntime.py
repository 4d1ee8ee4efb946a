"""The time of every layer in ONNX Runtime.

Its profiler notes the time and the shapes of every node that runs. That is the graph after its own optimization: it
joins nodes, changes layouts and adds nodes that reorder data. So the layers are those that run.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np

from parckit.contract import MissingExtraError
from parckit.measure.candidates import Candidate
from parckit.measure.latency import one_batch
from parckit.measure.profiling import CEILING_SIDE, Layer, ProfiledRuns, convolution_kind, product_madds
from parckit.runtimes.onnxruntime import load_graph

_US_PER_MS = 1e3
_WEIGHT_PLACE = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Convolution -> place of the weight among its inputs. The weight is (out channels, in channels of a group, ...)."""
_PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "QGemm")
"""Matrix products, (M, K) x (K, N). Their first input is the first factor. The engine hides a second one that it has
packed."""
_CONTAINERS = ("If", "Loop", "Scan")
"""Nodes that hold graphs. Their time is that of the nodes inside, which are layers themselves."""

Shape = Sequence[int]


def prepare(candidate: Candidate, *, threads: int, folder: Path) -> ProfiledRuns:
    """Open a candidate for a profile; see `parckit.measure.profiling`."""
    plain = candidate.open(threads)
    images = one_batch(plain)
    artefact = candidate.artefact
    file = candidate.path if artefact is None else candidate.path / artefact.main_file
    profiled = load_graph(file, threads=threads, profile=folder / "profile")
    names = [output.name for output in plain.outputs]

    def read() -> tuple[Layer, ...]:
        return read_layers(json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8")))

    return ProfiledRuns(
        profiled=lambda: profiled.run(names, {plain.input.name: images}),
        plain=lambda: plain(images),
        ceiling=_large_product(folder / "ceiling.onnx", threads=threads),
        read_layers=read,
    )


def _large_product(path: Path, *, threads: int) -> Callable[[], object]:
    """Return a function that multiplies two large matrices in ONNX Runtime; the second is constant, as weights are."""
    try:
        from onnx import TensorProto, helper, numpy_helper, save  # noqa: PLC0415  # not on boards
    except ModuleNotFoundError as error:
        raise MissingExtraError("the profile", package="onnx", extra="export") from error
    size = [CEILING_SIDE, CEILING_SIDE]
    matrix = np.random.default_rng(0).standard_normal(size, np.float32)
    left, product = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in ("left", "product"))
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "ceiling", [left], [product], [numpy_helper.from_array(matrix, "right")])
    # Opset 13 and IR 7 are old enough for every version that parckit accepts.
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    session = load_graph(path, threads=threads)
    return lambda: session.run(None, {"left": matrix})


def read_layers(events: Sequence[Mapping[str, object]]) -> tuple[Layer, ...]:
    """Return the layers that ONNX Runtime's profile holds; the time of a layer is the median over the runs.

    Args:
        events: the content of the profile.
    """
    runs: dict[tuple[str, str], list[Mapping[str, object]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node":
            arguments = _arguments(event)
            if arguments["op_name"] not in _CONTAINERS:
                # Names of nodes may be equal. Numbers may be equal too, if a branch or a loop holds a graph of its own.
                runs[str(event["name"]), str(arguments["node_index"])].append(event)
    return tuple(_layer(entries) for entries in runs.values())


def _layer(entries: Sequence[Mapping[str, object]]) -> Layer:
    arguments = _arguments(entries[0])
    kind = str(arguments["op_name"])
    inputs, outputs = _shapes(arguments["input_type_shape"]), _shapes(arguments["output_type_shape"])
    return Layer(
        name=str(entries[0]["name"]).removesuffix("_kernel_time"),
        kind=_with_kernel(kind, inputs) if _has_weight(kind, inputs) else kind,
        milliseconds=median(cast("float", event["dur"]) for event in entries) / _US_PER_MS,
        madds=_madds(kind, inputs, outputs[0] if outputs else ()),
        output=tuple(outputs[0]) if outputs else (),
    )


def _arguments(event: Mapping[str, object]) -> Mapping[str, object]:
    return cast("Mapping[str, object]", event["args"])


def _shapes(entries: object) -> list[Shape]:
    """Return the shapes in entries such as `{"float": [1, 3, 8, 8]}`."""
    return [shape for entry in cast("Sequence[Mapping[str, Shape]]", entries) for shape in entry.values()]


def _with_kernel(kind: str, inputs: Sequence[Shape]) -> str:
    return convolution_kind(kind, inputs[_WEIGHT_PLACE[kind]][1:], channels=inputs[0][1])


def _has_weight(kind: str, inputs: Sequence[Shape]) -> bool:
    """Return whether a node is a convolution, and the profiler tells the shape of its weight."""
    return len(inputs) > _WEIGHT_PLACE.get(kind, len(inputs))


def _madds(kind: str, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Return the multiply-adds of a node, from its shapes."""
    if _has_weight(kind, inputs):
        # Every output needs the taps of one output channel.
        weight = inputs[_WEIGHT_PLACE[kind]]
        return math.prod(output) * math.prod(weight[1:])
    if kind == "ConvTranspose" and len(inputs) > 1:
        # Every input gives the taps of the output channels of its group.
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    return product_madds(inputs[0], output) if kind in _PRODUCTS else None
