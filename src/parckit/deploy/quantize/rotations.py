"""Store a matrix whose rows are rotations of one row as that row.

A global convolution over a ring of n positions is a matrix product: row i of the (n, n) matrix is the kernel, rotated
by i positions. A stack of such matrices takes n times the space of its kernels. A Gather node with constant inputs
makes the matrices from them. ONNX Runtime and OpenVINO run it once, when they load the file.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import add_constant

_QUANTIZED = ("int8", "uint8", "uint16")
"""Types of quantized numbers."""


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
        kernels = add_constant(model, np.ascontiguousarray(steps[:, 0]), name=f"{name}.kernels")
        places = add_constant(model, _places(side), name=f"rotations_of_{side}")
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
    """Return whether a constant is a stack of square matrices whose rows are their first row, moved by one each."""
    is_stack = steps.dtype.name in _QUANTIZED and steps.ndim == 3 and steps.shape[1] == steps.shape[2] > 1
    return is_stack and np.array_equal(steps, steps[:, 0][:, _places(steps.shape[2])])


def _places(side: int) -> NDArray[np.int32]:
    """Return for every place of a matrix which number of its first row stands there, (side, side)."""
    positions = np.arange(side, dtype=np.int32)
    return (positions[None, :] - positions[:, None]) % side
