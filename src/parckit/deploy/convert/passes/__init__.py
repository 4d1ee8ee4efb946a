"""Passes that rewrite an exported graph. Results stay the same. One file per rule.

Some give faster operators. Others avoid what an engine gets wrong or cannot load; each says which engine had it.
"""

import onnx_ir as ir
from onnxscript.rewriter import RewritePass

from parckit.deploy.convert.passes.gelu import GELU_ORDER, GELU_ORDER_OF_OLD_EXPORTER, GELU_WITHOUT_OPERATOR
from parckit.deploy.convert.passes.hard_sigmoid import HARD_SIGMOID_DEFAULT
from parckit.deploy.convert.passes.layer_norm import LAYER_NORM_BIAS
from parckit.deploy.convert.passes.mean import MEAN_AS_POOLING
from parckit.deploy.convert.passes.resize import SAME_SIZE
from parckit.deploy.convert.passes.split import SPLIT_CONVOLUTION
from parckit.deploy.convert.passes.taps import TAPS_IN_PADDING

PASSES = ir.passes.Sequential(
    RewritePass([GELU_ORDER, GELU_ORDER_OF_OLD_EXPORTER, GELU_WITHOUT_OPERATOR]),
    RewritePass([MEAN_AS_POOLING]),
    RewritePass([SAME_SIZE]),
    RewritePass([SPLIT_CONVOLUTION]),
    RewritePass([TAPS_IN_PADDING]),
    RewritePass([HARD_SIGMOID_DEFAULT]),
    RewritePass([LAYER_NORM_BIAS]),
)
"""The passes in order. Every pass reports whether it changed the graph."""

__all__ = ["PASSES"]
