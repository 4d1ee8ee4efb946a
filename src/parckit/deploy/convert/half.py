"""Half precision for ONNX files."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

_PATH = list(sys.path)
from onnxruntime.transformers import float16  # noqa: E402 - the next line undoes what this import does

sys.path[:] = _PATH  # the package adds its own folder, whose modules have names such as `benchmark`

_SENSITIVE = ("LayerNormalization", "GlobalAveragePool", "ReduceMean", "Softmax")
"""Operators that stay in float32: they add many numbers, or squares or exponentials of them. Their sums could exceed
65504, the largest number of half precision, or lose the small terms."""
_LARGEST = float(np.finfo(np.float16).max)


def write_in_half(path: Path, target: Path) -> None:
    """Write a float32 ONNX file in half precision. Its inputs and outputs, and sensitive operators, stay in float32.

    Args:
        path: the file.
        target: the new file.
    """
    halved = float16.convert_float_to_float16(
        onnx.load(path), keep_io_types=True, op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *_SENSITIVE]
    )
    del halved.graph.value_info[:]  # the types of before
    model = ir.from_proto(halved)
    model.graph.sort()  # the converter adds its casts at the end
    ir.save(model, target)


def round_to_half(path: Path) -> None:
    """Round the kernels and matrices of a float32 ONNX file to numbers that half precision has; they stay float32.

    A program that cuts off digits instead of rounding then stores them without a further error. Errors of rounding
    cancel each other out, those of cutting off add up from layer to layer.
    """
    model = ir.load(path)
    for value in model.graph.initializers.values():
        weight = None if value.const_value is None else value.const_value.numpy()
        # Single numbers and vectors, such as epsilons and biases, are not stored in half precision.
        if weight is not None and weight.dtype == np.float32 and weight.ndim > 1:
            rounded = np.clip(weight, -_LARGEST, _LARGEST).astype(np.float16).astype(np.float32)
            value.const_value = ir.tensor(rounded, name=value.name)
    ir.save(model, path)
