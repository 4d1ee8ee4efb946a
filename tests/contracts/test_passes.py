"""What every graph pass promises: to fire, decline with a reason, keep the numbers, and leave its own output alone."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter import MatchingTracer, RewritePass, RewriteRule

from parckit.deploy.convert.passes.gelu import GELU_ORDER, GELU_ORDER_OF_OLD_EXPORTER, GELU_WITHOUT_OPERATOR
from parckit.deploy.convert.passes.hard_sigmoid import HARD_SIGMOID_DEFAULT
from parckit.deploy.convert.passes.layer_norm import LAYER_NORM_BIAS
from parckit.deploy.convert.passes.mean import MEAN_AS_POOLING
from parckit.deploy.convert.passes.resize import SAME_SIZE
from parckit.deploy.convert.passes.split import SPLIT_CONVOLUTION
from parckit.deploy.convert.passes.taps import TAPS_IN_PADDING
from parckit.deploy.quantize.passes.circular import CIRCULAR_WITHOUT_PADDING
from parckit.deploy.quantize.passes.gelu import GELU_AS_OPERATOR, GELU_OF_OLD_EXPORTER
from parckit.deploy.quantize.passes.groups import SMALL_GROUPS
from parckit.deploy.quantize.passes.hard_sigmoid import HARD_SIGMOID_IN_CONVOLUTION
from parckit.deploy.quantize.passes.hard_swish import HARD_SWISH_AS_PRODUCT
from parckit.deploy.quantize.passes.scale import SCALE_IN_CONVOLUTION
from parckit.deploy.quantize.qdq_passes.constant_operand import CONSTANT_FACTOR, CONSTANT_SUMMAND
from parckit.deploy.quantize.qdq_passes.silu import SILU_IN_FLOAT


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A rule, a graph in ONNX's text form that it rewrites, and changes of that text that make it decline.

    Attributes:
        fires: the graph; its input is x, its output y.
        becomes: operators of the graph behind it, in order.
        declines: (text, what to put in its place, a part of the reason).
        tolerance: relative to the largest number.
    """

    rule: RewriteRule
    fires: str
    becomes: tuple[str, ...]
    declines: tuple[tuple[str, str, str], ...]
    tolerance: float


GELU = Case(
    rule=GELU_ORDER,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
    { scaled = Div(x, root) erf = Erf(scaled) double = Add(erf, one) phi = Mul(half, double) y = Mul(x, phi) }""",
    becomes=("Div", "Erf", "Add", "Mul", "Mul"),
    declines=(
        ("half = {0.5}", "half = {0.25}", "half is not 0.5"),
        ("root = {1.4142135}", "root = {2.0}", "not 1 + erf"),
        ("one = {1.0}", "one = {2.0}", "not 1 + erf"),
        ("Erf(scaled)", "Tanh(scaled)", "not the sum"),
        ("Div(x, root)", "Div(one, root)", "not the sum"),
        ("Add(erf, one)", "Sub(erf, one)", "not the sum"),
    ),
    tolerance=0.0,
)
GELU_OLD_ORDER = Case(
    rule=GELU_ORDER_OF_OLD_EXPORTER,
    fires="""<ir_version: 8, opset_import: ["": 17]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
    { scaled = Div(x, root) erf = Erf(scaled) double = Add(erf, one) twice = Mul(x, double) y = Mul(twice, half) }""",
    becomes=("Div", "Erf", "Add", "Mul", "Mul"),
    declines=(
        ("half = {0.5}", "half = {0.25}", "half is not 0.5"),
        ("one = {1.0}", "one = {2.0}", "not 1 + erf"),
    ),
    tolerance=0.0,
)
GELU_APART = Case(
    rule=GELU_WITHOUT_OPERATOR,
    fires="""<ir_version: 9, opset_import: ["": 20]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    { y = Gelu<approximate = "none">(x) }""",
    becomes=("Div", "Erf", "Add", "Mul", "Mul"),
    declines=(('"none"', '"tanh"', "is an approximation"),),
    # The reference multiplies by 1 / sqrt 2.
    tolerance=1e-6,
)
GELU_OPERATOR = Case(
    rule=GELU_AS_OPERATOR,
    fires="""<ir_version: 9, opset_import: ["": 20]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
    { scaled = Div(x, root) erf = Erf(scaled) double = Add(erf, one) x_half = Mul(x, half) y = Mul(x_half, double) }""",
    becomes=("Gelu",),
    declines=(
        ("half = {0.5}", "half = {0.25}", "expected 0.5, got 0.25"),
        ("root = {1.4142135}", "root = {2.0}", "got 2.0"),
        ("one = {1.0}", "one = {2.0}", "expected 1.0, got 2.0"),
    ),
    # Products are rounded in another order.
    tolerance=1e-6,
)
GELU_OLD = Case(
    rule=GELU_OF_OLD_EXPORTER,
    fires="""<ir_version: 9, opset_import: ["": 20]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
    { scaled = Div(x, root) erf = Erf(scaled) double = Add(erf, one) twice = Mul(x, double) y = Mul(twice, half) }""",
    becomes=("Gelu",),
    declines=(("half = {0.5}", "half = {0.25}", "expected 0.5, got 0.25"),),
    tolerance=1e-6,
)
MEAN = Case(
    rule=MEAN_AS_POOLING,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (y)
    <int64[2] axes = {2, -1}> { y = ReduceMean<keepdims = 1>(x, axes) }""",
    becomes=("GlobalAveragePool",),
    declines=(
        ("{2, -1}", "{1, 2}", "not over height and width"),
        ("(x, axes)", "(x)", "over axes None"),
        ("keepdims = 1", "keepdims = 0", "drops the axes"),
        ("float[1, 2, 3, 4] x", "float[1, 2, 3, 4, 5] x", "not known to be a (B, C, H, W) map"),
    ),
    # A sum of 12 float32 numbers may be rounded in another order.
    tolerance=1e-6,
)
MEAN_BEFORE_OPSET_18 = Case(
    rule=MEAN_AS_POOLING,
    fires="""<ir_version: 8, opset_import: ["": 13]> graph (float[1, 2, 3, 4] x) => (y)
    { y = ReduceMean<axes = [2, 3]>(x) }""",
    becomes=("GlobalAveragePool",),
    declines=(("[2, 3]", "[0, 1]", "not over height and width"),),
    tolerance=1e-6,
)
RESIZE = Case(
    rule=SAME_SIZE,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <int64[4] sizes = {1, 2, 3, 4}>
    { r = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(x, , , sizes) y = Neg(r) }""",
    becomes=("Identity", "Neg"),
    declines=(
        ("half_pixel", "tf_crop_and_resize", "may be a part of x"),
        ("sizes = {1, 2, 3, 4}", "sizes = {1, 2, 6, 4}", "has another size than x"),
        ("float[1, 2, 3, 4] x", "float[1, 2, h, 4] x", "is unknown"),
    ),
    tolerance=0.0,
)
SPLIT = Case(
    rule=SPLIT_CONVOLUTION,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 3, 3, 4] y)
    <float[3, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0, -1.0, 2.0}, float[3] b = {0.5, -0.5, 1.0}, int64[2] sizes = {1, 2}>
    { c = Conv<group = 1>(x, w, b) r = Relu(c) p, q = Split<axis = 1>(r, sizes) y = Concat<axis = 1>(q, p) }""",
    becomes=("Conv", "Relu", "Conv", "Relu", "Concat"),
    declines=(
        ("p, q = Split<axis = 1>(r, sizes)", "p, q = Split<axis = 2>(r, sizes)", "not split by channels"),
        ("p, q = Split<axis = 1>(r, sizes)", "p = Split<axis = 1, num_outputs = 1>(r) q = Neg(p)", "into 1 parts"),
        ("r = Relu(c)", "r = Softmax(c)", "does not come from a convolution"),
        ("group = 1", "group = 2", "has groups"),
        ("c = Conv<group = 1>(x, w, b)", "v = Neg(w) c = Conv<group = 1>(x, v, b)", "weights that are not constant"),
        ("(r, sizes)", "(r, elsewhere)", "are unknown"),
        ("Concat<axis = 1>(q, p)", "Concat<axis = 1>(q, p, r)", "used outside the split"),
        ("Concat<axis = 1>(q, p)", "Concat<axis = 1>(q, p, c)", "used outside the split"),
    ),
    tolerance=0.0,
)
TAPS = Case(
    rule=TAPS_IN_PADDING,
    # Along the width, the first of three taps is always left of the map; along the height, all see it.
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 1, 3, 2] y)
    <float[1, 2, 2, 3] w = {1.0, -2.0, 0.5, 3.0, -1.0, 2.0, 1.5, 0.5, -3.0, 2.5, -0.5, 1.0}, float[1] b = {0.5}>
    { y = Conv<pads = [1, 7, 0, 2], dilations = [1, 5], strides = [1, 2]>(x, w, b) }""",
    becomes=("Conv",),
    declines=(
        ("(x, w, b)", "(x, elsewhere, b)", "the weights elsewhere are not constant"),
        ("float[1, 2, 3, 4] x", "float[1, 2, 3, width] x", "the size of x is unknown"),
        ("pads = [1, 7, 0, 2]", 'auto_pad = "SAME_UPPER"', "does not say its paddings in numbers"),
        ("pads = [1, 7, 0, 2], dilations = [1, 5]", "pads = [1, 2, 0, 0], dilations = [1, 1]", "all taps of y see"),
        ("pads = [1, 7, 0, 2], dilations = [1, 5]", "pads = [1, 4, 0, 5], dilations = [1, 5]", "begin inside the map"),
    ),
    tolerance=0.0,
)
HARD_SIGMOID = Case(
    rule=HARD_SIGMOID_DEFAULT,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    { y = HardSigmoid<alpha = 0.25, beta = 0.5>(x) }""",
    becomes=("HardSigmoid",),
    declines=(
        ("beta = 0.5", "beta = 0.25", "another beta"),
        (", beta = 0.5", "", "has no beta"),
    ),
    tolerance=0.0,
)
LAYER_NORM = Case(
    rule=LAYER_NORM_BIAS,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[4] w = {1.0, -2.0, 0.5, 3.0}, float[4] b = {1.0, 2.0, 3.0, 4.0}>
    { y = LayerNormalization<axis = -1, epsilon = 0.001>(x, w) }""",
    becomes=("LayerNormalization",),
    declines=(
        ("(x, w)", "(x, w, b)", "has a bias"),
        (
            "y = LayerNormalization<axis = -1, epsilon = 0.001>(x, w)",
            "v = Neg(w) y = LayerNormalization(x, v)",
            "constant",
        ),
    ),
    tolerance=0.0,
)
GATE = Case(
    rule=HARD_SIGMOID_IN_CONVOLUTION,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[2, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0}, float[2] b = {0.5, -0.5}>
    { c = Conv(x, w, b) y = HardSigmoid<alpha = 0.25, beta = 0.75>(c) }""",
    becomes=("Conv", "Clip"),
    declines=(("c = Conv(x, w, b)", "v = Neg(w) c = Conv(x, v, b)", "are not constant"),),
    # Products are rounded in another order.
    tolerance=1e-6,
)
GATE_WITHOUT_BIAS = Case(
    rule=HARD_SIGMOID_IN_CONVOLUTION,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[2, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0}> { c = Conv(x, w) y = HardSigmoid(c) }""",
    becomes=("Conv", "Clip"),
    declines=(),
    tolerance=1e-6,
)
HARD_SWISH = Case(
    rule=HARD_SWISH_AS_PRODUCT,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 3, 3, 4] y)
    <float[3, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0, -1.0, 2.0}, float[3] b = {0.5, -0.5, 1.0}>
    { far = Add(x, x) v = Neg(w) h = HardSwish(far) y = Conv<strides = [1, 1]>(h, w, b) }""",
    becomes=("Add", "Add", "Clip", "Mul", "Conv"),
    declines=(("(h, w, b)", "(h, v, b)", "are not constant"),),
    tolerance=1e-6,
)
GROUPS = Case(
    rule=SMALL_GROUPS,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[2, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0}, float[2] b = {0.5, -0.5},
     float[2, 1, 1, 1] deep = {1.0, 2.0}>
    { z = Neg(x) v = Neg(w) four = Concat<axis = 1>(x, z) y = Conv<group = 2>(four, w, b) }""",
    becomes=("Neg", "Concat", "Conv"),
    declines=(
        ("group = 2", "group = 1", "has no groups"),
        ("Conv<group = 2>(four, w, b)", "Conv<group = 2>(x, deep, b)", "has 1 channels a group"),
        ("Conv<group = 2>(four, w, b)", "Conv<group = 2>(four, v, b)", "not constant"),
    ),
    # Sums are rounded in another order.
    tolerance=1e-6,
)
SCALE = Case(
    rule=SCALE_IN_CONVOLUTION,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float[2, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0}, float[2] b = {0.5, -0.5}, float[2, 1, 1] gamma = {0.1, 3.0},
     float[1, 2, 3, 1] map = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>
    { v = Neg(w) other = Neg(gamma) c = Conv(x, w, b) y = Mul(c, gamma) }""",
    becomes=("Conv",),
    declines=(
        ("Conv(x, w, b)", "Conv(x, v, b)", "are not constant"),
        ("Mul(c, gamma)", "Mul(c, other)", "is not constant"),
        ("Mul(c, gamma)", "Mul(c, map)", "no factor for every channel"),
    ),
    # Products are rounded in another order.
    tolerance=1e-6,
)
# Ten positions along the width: the first twenty numbers of x. The taps are 1 to 10, and before them 2 to 10.
CIRCULAR = Case(
    rule=CIRCULAR_WITHOUT_PADDING,
    fires="""<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (y)
    <float[1, 1, 1, 19] taps = {2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0,
     9.0, 10.0}, float[1] b = {0.5}, int64[4] sizes = {1, 1, 2, 10}, int64[4] others = {1, 1, 1, 20},
     int64[1] zero = {0}, int64[1] end = {20}, int64[1] first = {-1}, float[1, 1, 1, 3] few = {1.0, 2.0, 1.0}>
    { flat = Reshape(x, first) long = Slice(flat, zero, end, zero) m = Reshape(long, sizes) v = Neg(taps)
      y = Conv<pads = [0, 9, 0, 9]>(m, taps, b) }""",
    becomes=("Reshape", "Slice", "Reshape", "Slice", "Concat", "Conv"),
    declines=(
        ("(m, taps, b)", "(m, v, b)", "with constant weights"),
        ("<pads = [0, 9, 0, 9]>(m, taps, b)", "<pads = [0, 1, 0, 1]>(m, few, b)", "has only 2 positions"),
        ("pads = [0, 9, 0, 9]", "pads = [0, 8, 0, 9]", "other paddings"),
        ("Reshape(long, sizes)", "Reshape(long, others)", "does not have 10 positions"),
        ("{2.0, 3.0,", "{3.0, 3.0,", "does not hold its taps twice"),
    ),
    # Sums are rounded in another order.
    tolerance=1e-6,
)
QUANTIZED = """<ir_version: 9, opset_import: ["": 19]> graph (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y)
    <float s = {0.03}, uint8 z = {100}, float t = {0.06}, int8 i = {0}, float[1, 2, 1, 1] c = {-0.5, 3.0}>"""
SUMMAND = Case(
    rule=CONSTANT_SUMMAND,
    fires=f"""{QUANTIZED} {{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = Neg(c) a = Add(d, c)
      p = Relu(a) r = QuantizeLinear(p, t, z) y = Cast<to = 1>(r) }}""",
    becomes=("QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Add", "Relu", "QuantizeLinear", "Cast"),
    declines=(
        ("Add(d, c)", "Add(d, v)", "is not constant"),
        ("Add(d, c)", "Add(x, c)", "is not quantized"),
        ("QuantizeLinear(p, t, z)", "QuantizeLinear(p, t, i)", "not quantized to 8 bits"),
    ),
    # The constant is rounded, which may move the result by one of about 150 steps.
    tolerance=0.01,
)
FACTOR = Case(
    rule=CONSTANT_FACTOR,
    fires=f"""{QUANTIZED} {{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = Neg(c) a = Mul(d, c)
      r = QuantizeLinear(a, t, z) y = Cast<to = 1>(r) }}""",
    becomes=("QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Mul", "QuantizeLinear", "Cast"),
    declines=(("Mul(d, c)", "Mul(d, v)", "is not constant"),),
    tolerance=0.01,
)
SILU = Case(
    rule=SILU_IN_FLOAT,
    fires=f"""{QUANTIZED} {{ n = Neg(x) q = QuantizeLinear(n, s, z) d = DequantizeLinear(q, s, z) g = Sigmoid(d)
      r = QuantizeLinear(g, s, z) e = DequantizeLinear(r, s, z) y = Mul(d, e) }}""",
    becomes=("Neg", "Sigmoid", "Mul"),
    declines=(),
    # Nothing is rounded to steps of 0.03 any more.
    tolerance=0.05,
)
SHARED_SPLITS = """<ir_version: 8, opset_import: ["": 18]> graph (float[1, 2, 3, 4] x) => (float[1, 6, 3, 4] y)
    <float[3, 2, 1, 1] w = {1.0, -2.0, 0.5, 3.0, -1.0, 2.0}, float[3] b = {0.5, -0.5, 1.0},
     int64[2] one = {1, 2}, int64[2] two = {2, 1}>
    { c = Conv(x, w, b) p, q = Split<axis = 1>(c, one) z = Neg(x) d = Conv(z, w, b) r, s = Split<axis = 1>(d, two)
      y = Concat<axis = 1>(q, p, s, r) }"""
CASES = {
    "gelu": GELU,
    "gelu order of the old exporter": GELU_OLD_ORDER,
    "gelu apart": GELU_APART,
    "gelu operator": GELU_OPERATOR,
    "gelu of the old exporter": GELU_OLD,
    "mean": MEAN,
    "mean before opset 18": MEAN_BEFORE_OPSET_18,
    "resize": RESIZE,
    "split": SPLIT,
    "taps": TAPS,
    "hard sigmoid": HARD_SIGMOID,
    "layer norm": LAYER_NORM,
    "gate": GATE,
    "gate without bias": GATE_WITHOUT_BIAS,
    "hard swish": HARD_SWISH,
    "groups": GROUPS,
    "scale": SCALE,
    "circular": CIRCULAR,
    "constant summand": SUMMAND,
    "constant factor": FACTOR,
    "silu": SILU,
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def parse(text: str) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    return y


@every_case
def test_passes_fire_keep_the_numbers_and_leave_their_own_output_alone(case):
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4), np.float32)
    model = parse(case.fires)
    expected = run(model, x)
    assert RewritePass([case.rule])(model).modified
    RemoveUnusedNodesPass()(model)
    assert tuple(node.op_type for node in model.graph) == case.becomes
    assert np.abs(run(model, x) - expected).max() <= case.tolerance * np.abs(expected).max()
    assert not RewritePass([case.rule])(model).modified


@pytest.mark.parametrize(
    ("case", "change"),
    [(case, change) for case in CASES.values() for change in case.declines],
    ids=[f"{name}: {change[1]}" for name, case in CASES.items() for change in case.declines],
)
def test_passes_decline_with_a_reason(case, change):
    old, new, reason = change
    assert case.fires.count(old) == 1
    model, tracer = parse(case.fires.replace(old, new)), MatchingTracer()
    assert case.rule.apply_to_model(model, tracer=tracer) == 0
    reasons = [match.match_result.reason for match in tracer.best_matches_map[case.rule]]
    assert any(reason in told for told in reasons), reasons


def test_convolutions_that_share_weights_are_split_alike():
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4), np.float32)
    model = parse(SHARED_SPLITS)
    expected = run(model, x)
    assert RewritePass([SPLIT_CONVOLUTION])(model).modified
    RemoveUnusedNodesPass()(model)
    onnx.checker.check_model(ir.to_proto(model))
    assert np.array_equal(run(model, x), expected)
