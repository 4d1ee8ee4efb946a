"""Store a matrix whose rows are rotations of one row as that row.

A global convolution over a ring of n positions is a matrix product: row i of the (n, n) matrix is the kernel, rotated
by i positions. A stack of such matrices takes n times the space of its kernels. A Gather node with constant inputs
makes the matrices from them. ONNX Runtime and OpenVINO run it once, when they load the file.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_SMALL = ("int8", "uint8", "uint16")


def store_rotations_once(model: ir.Model) -> int:
    """Replace all stacks of quantized matrices with rotated rows in a graph; return how many there were.

    Args:
        model: the graph, which is changed. It computes the same numbers.
    """
    stacks = 0
    for name, value in list(model.graph.initializers.items()):
        steps = None if value.const_value is None else value.const_value.numpy()
        if steps is None or not _has_rotated_rows(steps):
            continue
        side = steps.shape[-1]
        kernels = _add_constant(model, f"{name}.kernels", np.ascontiguousarray(steps[:, 0]))
        places = _add_constant(model, f"rotations_of_{side}", _places(side))
        node = ir.node("Gather", [kernels, places], {"axis": 1}, name=f"{name}.gather")
        result = node.outputs[0]
        result.shape, result.type = value.shape, value.type
        ir.convenience.replace_all_uses_with(value, result)
        del model.graph.initializers[name]
        result.name = name
        model.graph.append(node)
        stacks += 1
    model.graph.sort()
    return stacks


def _has_rotated_rows(steps: NDArray[np.generic]) -> bool:
    is_stack = steps.dtype.name in _SMALL and steps.ndim == 3 and steps.shape[1] == steps.shape[2] > 1
    return is_stack and np.array_equal(steps, steps[:, 0][:, _places(steps.shape[2])])


def _places(side: int) -> NDArray[np.int32]:
    """Return for every place of a matrix which number of its first row stands there, (side, side)."""
    positions = np.arange(side, dtype=np.int32)
    return (positions[None, :] - positions[:, None]) % side


def _add_constant(model: ir.Model, name: str, numbers: NDArray[np.generic]) -> ir.Value:
    """Return an initializer; that of the places may be there already."""
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    value = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
    value.shape, value.type = ir.Shape(numbers.shape), ir.TensorType(ir.DataType.from_numpy(numbers.dtype))
    model.graph.register_initializer(value)
    return value
