"""Passes that prepare a float graph for int8. Results stay the same. One file per rule.

They run before calibration, because they change which tensors a graph has. Most are for ONNX Runtime and OpenVINO on
x86 processors: what stands between the convolutions of a graph that is prepared so, ONNX Runtime computes in int8,
except LayerNorm and GELU. Engines with files of their own, such as MNN and ncnn, get the operators that they know.
"""

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass

from parckit.deploy.quantize.graph import with_opset
from parckit.deploy.quantize.passes.circular import CIRCULAR_WITHOUT_PADDING
from parckit.deploy.quantize.passes.gelu import GELU_AS_OPERATOR, GELU_OF_OLD_EXPORTER, LEAST_OPSET
from parckit.deploy.quantize.passes.groups import SMALL_GROUPS
from parckit.deploy.quantize.passes.hard_sigmoid import HARD_SIGMOID_IN_CONVOLUTION
from parckit.deploy.quantize.passes.hard_swish import HARD_SWISH_AS_PRODUCT
from parckit.deploy.quantize.passes.scale import SCALE_IN_CONVOLUTION

FOR_ONNX = ir.passes.Sequential(
    RewritePass([SCALE_IN_CONVOLUTION]),
    RewritePass([HARD_SIGMOID_IN_CONVOLUTION]),
    RewritePass([HARD_SWISH_AS_PRODUCT]),
    RewritePass([SMALL_GROUPS]),
    RewritePass([CIRCULAR_WITHOUT_PADDING]),
    RewritePass([GELU_AS_OPERATOR, GELU_OF_OLD_EXPORTER]),
)
"""The passes for files in ONNX, in order. Every pass reports whether it changed the graph."""
FOR_OTHERS = ir.passes.Sequential(RewritePass([SCALE_IN_CONVOLUTION]))
"""The passes for all other files."""
_REPEATING = ("Add", "Concat", "Expand", "Reshape", "Slice", "Transpose")
"""Operators with which a float file repeats constants: position embeddings, and the kernels of global convolutions."""
_MOST_NUMBERS = 1 << 26
"""Numbers of the largest constant that is computed; 256 MB in float32."""
_CLEAN = ir.passes.Sequential(
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    passes.DeduplicateInitializersPass(),
    passes.RemoveUnusedNodesPass(),
    # Calibration needs the shapes of the new tensors.
    passes.ShapeInferencePass(),
)


def _repeats(node: ir.Node) -> bool | None:
    """Return True for a node that is folded although its result is larger; None leaves the choice to the pass."""
    return True if node.op_type in _REPEATING else None


def prepare_for_int8(model: ir.Model, *, is_for_onnx: bool = True) -> ir.Model:
    """Return a float graph that gives the same results and has more operators which engines run in int8.

    Args:
        model: the graph, with static shapes; it may be changed. Every node of the new graph has a name of its own.
        is_for_onnx: whether ONNX Runtime or OpenVINO will run it; otherwise it is an engine with files of its own.
    """
    if is_for_onnx:
        if any(node.op_type == "Erf" for node in model.graph):
            model = with_opset(model, LEAST_OPSET)
        model = FOR_ONNX(model).model
        fold_constants(model, should_fold=_repeats, output_size_limit=_MOST_NUMBERS)
    else:
        model = FOR_OTHERS(model).model
    model = _CLEAN(model).model
    for place, node in enumerate(model.graph):
        if not node.name:
            node.name = f"{node.op_type}_{place}"
    return passes.NameFixPass()(model).model


__all__ = ["FOR_ONNX", "FOR_OTHERS", "prepare_for_int8"]
