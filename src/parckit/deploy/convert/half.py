"""Half precision for ONNX files."""

import sys
from pathlib import Path

import onnx
import onnx_ir as ir

_PATH = list(sys.path)
from onnxruntime.transformers import float16  # noqa: E402 - the next line undoes what this import does

sys.path[:] = _PATH  # the package adds its own folder, whose modules have names such as `benchmark`

_SENSITIVE = ("LayerNormalization", "GlobalAveragePool", "ReduceMean", "Softmax")
"""Operators that stay in float32: they add many numbers, or squares or exponentials of them. Their sums could exceed
65504, the largest number of half precision, or lose the small terms."""


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
