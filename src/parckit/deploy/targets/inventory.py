"""What operators an ONNX graph has."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_NAMES = {"float": "float32", "double": "float64"}
"""ONNX's names of element types that numpy calls differently."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorUse:
    """All nodes of one operator in a graph.

    Attributes:
        operator: name of the operator.
        count: number of nodes.
        kernel: the kernel with the longest side, (height, width); empty for operators without a kernel.
        rank: largest number of dimensions of their outputs and of their inputs that are no constants.
        types: element types of these tensors.
    """

    operator: str
    count: int
    kernel: tuple[int, ...]
    rank: int
    types: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensors:
    """The tensors of a graph between its operators.

    Attributes:
        shapes: name -> sizes; 0 for a free one.
        types: name -> element type.
    """

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]


def tensors_of(model: ModelProto) -> Tensors:
    """Return the tensors of a graph. Constants are left out."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    constant = {tensor.name for tensor in graph.initializer}
    values = [value for value in (*graph.input, *graph.value_info, *graph.output) if value.name not in constant]
    return Tensors(
        shapes={value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values},
        types={value.name: _type_name(value.type.tensor_type.elem_type) for value in values},
    )


def list_operators(graph: GraphProto, tensors: Tensors) -> tuple[OperatorUse, ...]:
    """Return the operators of a graph, the most frequent ones first."""
    nodes: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        nodes[node.op_type].append(node)
    uses = [_use(operator, group, tensors) for operator, group in nodes.items()]
    return tuple(sorted(uses, key=lambda use: (-use.count, use.operator)))


def ints_of(node: NodeProto, attribute: str) -> tuple[int, ...]:
    """Return an attribute that is a list of whole numbers; empty if the node does not have it."""
    return next((tuple(entry.ints) for entry in node.attribute if entry.name == attribute), ())


def _use(operator: str, nodes: list[NodeProto], tensors: Tensors) -> OperatorUse:
    names = [name for node in nodes for name in (*node.input, *node.output) if name in tensors.shapes]
    return OperatorUse(
        operator=operator,
        count=len(nodes),
        kernel=max((ints_of(node, "kernel_shape") for node in nodes), key=lambda kernel: max(kernel, default=0)),
        rank=max((len(tensors.shapes[name]) for name in names), default=0),
        types=tuple(sorted({tensors.types[name] for name in names})),
    )


def _type_name(number: int) -> str:
    name = TensorProto.DataType.Name(number).lower()
    return _NAMES.get(name, name)
