"""The time of every layer in OpenVINO, on the CPU.

Its counters tell the time of every node that runs, and its runtime model tells the shapes. That is the graph after its
own optimization: it joins nodes, changes layouts and adds nodes that reorder data. So the layers are those that run.
"""

# The type checker also runs where the package is absent.
# pyright: reportAttributeAccessIssue=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import openvino  # pyright: ignore[reportMissingImports]

from parckit.measure.candidates import Candidate
from parckit.measure.latency import one_batch
from parckit.measure.profiling import CEILING_SIDE, Layer, ProfiledRuns, convolution_kind, product_madds
from parckit.runtimes.openvino import compile_graph

_MS = timedelta(milliseconds=1)
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_TRANSPOSED = ("Deconvolution", "GroupDeconvolution")
_WITH_BIAS = "/WithoutBiases"
"""End of the names of nodes whose bias was an addition in the file; the node that runs has the bias inside."""
_PRODUCTS = ("MatMul", "FullyConnected")

Shape = Sequence[int]


class Node(NamedTuple):
    """A node of the runtime model.

    Attributes:
        kind: its operator.
        inputs: shapes of its inputs.
        output: shape of its first output.
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape


def prepare(candidate: Candidate, *, threads: int, folder: Path) -> ProfiledRuns:  # noqa: ARG001  # needs no files
    """Open a candidate for a profile; see `parckit.measure.profiling`. Free sizes are those of the session's images."""
    plain = candidate.open(threads)
    images = one_batch(plain)
    artefact = candidate.artefact
    assert artefact is not None  # noqa: S101 - this engine opens artefacts of bundles only
    graph = openvino.Core().read_model(candidate.path / artefact.main_file)
    graph.reshape(list(images.shape))
    compiled = compile_graph(graph, precision=artefact.precision, threads=threads, profile=True)
    nodes = {node.get_friendly_name(): _read_node(node) for node in compiled.get_runtime_model().get_ops()}
    request = compiled.create_infer_request()
    times: dict[str, list[float]] = defaultdict(list)

    def run() -> None:
        request.infer({0: images})
        for layer in request.profiling_info:
            if str(layer.status).endswith(".EXECUTED"):
                times[layer.node_name].append(layer.real_time / _MS)

    def read() -> tuple[Layer, ...]:
        return tuple(_layer(name, nodes[name], milliseconds) for name, milliseconds in times.items())

    return ProfiledRuns(
        profiled=run, plain=lambda: plain(images), ceiling=_large_product(threads=threads), read_layers=read
    )


def _large_product(*, threads: int) -> Callable[[], object]:
    """Return a function that multiplies two large matrices in OpenVINO; the second is constant, as weights are."""
    matrix = np.random.default_rng(0).standard_normal((CEILING_SIDE, CEILING_SIDE), np.float32)
    left = openvino.opset13.parameter(matrix.shape, np.float32)
    product = openvino.opset13.matmul(left, openvino.opset13.constant(matrix), False, False)  # noqa: FBT003 - no transpose
    request = compile_graph(openvino.Model([product], [left]), precision="fp32", threads=threads).create_infer_request()
    return lambda: request.infer({0: matrix})


def _read_node(node: "openvino.Node") -> Node:
    information = node.get_rt_info()
    kind = information["layerType"].astype(str) if "layerType" in information else node.get_type_name()
    shapes = [tuple(tuple(port.get_shape()) for port in ports) for ports in (node.inputs(), node.outputs())]
    return Node(kind=kind, inputs=shapes[0], output=shapes[1][0] if shapes[1] else ())


def _layer(name: str, node: Node, milliseconds: Sequence[float]) -> Layer:
    return Layer(
        name=name.removesuffix(_WITH_BIAS),
        kind=_with_kernel(node) if node.kind in _CONVOLUTIONS else node.kind,
        milliseconds=median(milliseconds),
        madds=madds_of(node),
        output=tuple(node.output),
    )


def _with_kernel(node: Node) -> str:
    return convolution_kind(node.kind, _taps(node.inputs[1], node.output), channels=node.inputs[0][1])


def madds_of(node: Node) -> int | None:
    """Return the multiply-adds of a node; None for what is neither a convolution nor a matrix product."""
    if node.kind in _CONVOLUTIONS:
        # Every output needs the taps of one output channel.
        return math.prod(node.output) * math.prod(_taps(node.inputs[1], node.output))
    if node.kind in _TRANSPOSED:
        # Every input gives the taps of the output channels of its group.
        return math.prod(node.inputs[0]) * math.prod(_taps(node.inputs[1], node.output))
    return product_madds(node.inputs[0], node.output) if node.kind in _PRODUCTS else None


def _taps(weight: Shape, output: Shape) -> Shape:
    """Return the part of a weight's shape behind its channels of one side; a grouped one begins with the groups."""
    return weight[2:] if len(weight) > len(output) else weight[1:]
