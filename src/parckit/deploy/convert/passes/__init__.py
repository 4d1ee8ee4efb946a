"""Passes that rewrite an exported graph with faster operators. Results stay the same. One file per rule."""

import onnx_ir as ir
from onnxscript.rewriter import RewritePass

from parckit.deploy.convert.passes.gelu import GELU_ORDER
from parckit.deploy.convert.passes.mean import MEAN_AS_POOLING
from parckit.deploy.convert.passes.resize import SAME_SIZE
from parckit.deploy.convert.passes.split import SPLIT_CONVOLUTION

PASSES = ir.passes.Sequential(
    RewritePass([GELU_ORDER]),
    RewritePass([MEAN_AS_POOLING]),
    RewritePass([SAME_SIZE]),
    RewritePass([SPLIT_CONVOLUTION]),
)
"""The passes in order. Every pass reports whether it changed the graph."""

__all__ = ["PASSES"]
