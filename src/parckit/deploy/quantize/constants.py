"""Reading and replacing the constants of a graph's nodes."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def constant_of(value: ir.Value | None) -> NDArray[np.float32] | None:
    """Return the float numbers of a value that is a constant; None if it is none."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return tensor.numpy() if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def sole_constant(node: ir.Node, place: int) -> NDArray[np.float32] | None:
    """Return the float constant at an input of a node, if no other node reads it."""
    value = node.inputs[place] if place < len(node.inputs) else None
    numbers = constant_of(value)
    return numbers if value is not None and numbers is not None and len(value.uses()) == 1 else None


def set_constant(model: ir.Model, node: ir.Node, place: int, numbers: NDArray[np.floating], *, name: str = "") -> None:
    """Give an input of a node other numbers.

    Args:
        model: the graph.
        node: the node.
        place: index of the input.
        numbers: the numbers; float32 is stored.
        name: name of a new constant, if the node has none at this input.
    """
    single = np.ascontiguousarray(numbers, dtype=np.float32)
    value = node.inputs[place] if place < len(node.inputs) else None
    if value is None:
        value = ir.Value(name=name, const_value=ir.tensor(single, name=name))
        model.graph.register_initializer(value)
        if place >= len(node.inputs):
            node.resize_inputs(place + 1)
        node.replace_input_with(place, value)
    value.const_value = ir.tensor(single, name=value.name)
    value.shape, value.type = ir.Shape(single.shape), ir.TensorType(ir.DataType.FLOAT)


def add_constant(model: ir.Model, numbers: NDArray[np.generic], *, name: str) -> ir.Value:
    """Return a new initializer of a graph, or the one that has this name already, as those of equal grids have."""
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    value = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
    value.shape, value.type = ir.Shape(numbers.shape), ir.TensorType(ir.DataType.from_numpy(numbers.dtype))
    model.graph.register_initializer(value)
    return value


def name_of(value: ir.Value | None) -> str:
    """Return the name of a value; empty for an input that a node does not have."""
    return "" if value is None else value.name or ""


def only_reader(value: ir.Value) -> ir.Node | None:
    """Return the node that alone reads a value; None if there are several, or the graph returns it."""
    readers = list(value.uses())
    return readers[0].node if len(readers) == 1 and not value.is_graph_output() else None


def ints_of(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute with whole numbers."""
    return tuple(node.attributes.get_ints(name, default) or default)
