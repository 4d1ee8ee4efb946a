"""Constants of graphs that passes read."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def constant_of(value: ir.Value | None) -> NDArray[np.float32] | None:
    """Return the numbers of a value that is a float32 constant; None if it is none."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return tensor.numpy() if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None
