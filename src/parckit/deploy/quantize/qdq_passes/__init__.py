"""Passes that rewrite a graph with QuantizeLinear and DequantizeLinear nodes for an engine. One file per rule."""

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.rewriter import RewritePass

from parckit.deploy.quantize.qdq_passes.constant_operand import CONSTANT_FACTOR, CONSTANT_SUMMAND
from parckit.deploy.quantize.qdq_passes.silu import SILU_IN_FLOAT

_FOR_ALL = (RewritePass([CONSTANT_SUMMAND]), RewritePass([CONSTANT_FACTOR]))
_CLEAN = (passes.DeduplicateInitializersPass(), passes.RemoveUnusedNodesPass())

FOR_ONNXRUNTIME = ir.passes.Sequential(*_FOR_ALL, *_CLEAN)
"""The passes for ONNX Runtime, in order."""
FOR_OPENVINO = ir.passes.Sequential(*_FOR_ALL, RewritePass([SILU_IN_FLOAT]), *_CLEAN)
"""The passes for OpenVINO. Its numbers are a little closer to those of the float graph."""

__all__ = ["FOR_ONNXRUNTIME", "FOR_OPENVINO"]
