"""What a graph has is compared with what a board's maker publishes."""

import math
from dataclasses import replace

import onnx
import pytest

from parckit.deploy import settings_for
from parckit.deploy.settings import HIGHEST_OPSET, LOWEST_OPSET
from parckit.deploy.targets import TARGETS, ConvLimits, Target, find_target
from parckit.deploy.targets.comparison import find_violations, place_of
from parckit.deploy.targets.inventory import OperatorUse, list_operators, tensors_of

GRAPH = """<ir_version: 7, opset_import: ["": 11]>
    graph (float[1, 4, 8, 6] x) => (float[1, 2, 4, 6] y, float[1, 4, 6] m)
    <float[2, 4, 5, 1] w, float[2, 2, 3, 3] v, int64[1] axes = {2}>
    {
        c = Conv<kernel_shape = [5, 1], pads = [2, 0, 2, 0], strides = [2, 1]>(x, w)
        d = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c, v)
        y = Relu(d)
        m = ReduceMean<axes = [2], keepdims = 0>(x)
    }"""

BOARD = Target(
    title="a board",
    source="a test",
    unknown="nothing",
    opset=11,
    opsets=(10, 11),
    highest_ir=7,
    kernels={"Conv": 5},
    conv=ConvLimits(stride=2, padding=2, dilation=1, channels=4, weights=20),
    operators=frozenset({"Conv", "Relu"}),
    on_cpu=frozenset({"ReduceMean"}),
    input_dims=4,
    rank=4,
    types=frozenset({"float32"}),
    most_outputs=2,
)
every_target = pytest.mark.parametrize("name", TARGETS)


def parse(text: str = GRAPH) -> onnx.ModelProto:
    """Parse a graph, and give its weights numbers, which are not looked at."""
    for weight in ("[2, 4, 5, 1] w", "[2, 2, 3, 3] v"):
        count = math.prod(map(int, weight[1:-3].split(", ")))
        text = text.replace(f"float{weight}", f"float{weight} = {{{', '.join(['1.0'] * count)}}}")
    return onnx.parser.parse_model(text)


def test_operators_are_listed_with_count_kernel_dimensions_and_types():
    model = parse()
    assert list_operators(model.graph, tensors_of(model)) == (
        OperatorUse(operator="Conv", count=2, kernel=(5, 1), rank=4, types=("float32",)),
        OperatorUse(operator="ReduceMean", count=1, kernel=(), rank=4, types=("float32",)),
        OperatorUse(operator="Relu", count=1, kernel=(), rank=4, types=("float32",)),
    )


def test_a_graph_within_the_limits_passes():
    assert find_violations(parse(), BOARD) == ()
    assert [place_of(name, BOARD) for name in ("Conv", "ReduceMean", "Erf")] == ["NPU", "CPU", "not supported"]
    assert place_of("Conv", replace(BOARD, on_cpu=None)) == "supported"


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        ({"opsets": (13, 18)}, "opset 11: it takes 13 to 18"),
        ({"highest_ir": 6}, "IR version 7: it takes 6 at most"),
        ({"most_outputs": 1}, "2 outputs: it takes 1 at most"),
        ({"batch_size": 2}, "input x: 1 images at once; it takes 2"),
        ({"input_dims": 3}, "input x: 4 dimensions; it takes 3"),
        ({"on_cpu": frozenset()}, "ReduceMean: not supported (1 times in the graph)"),
        ({"kernels": {"Conv": 3}}, "Conv: a kernel of 5 x 1; the longest side may be 3"),
        ({"ranks": {"Relu": 3}}, "Relu: a tensor with 4 dimensions; it takes 3 at most"),
        ({"conv": ConvLimits(stride=1)}, "Conv: a stride of 2; 1 at most"),
        ({"conv": ConvLimits(padding=1)}, "Conv: a padding of 2; 1 at most"),
        ({"conv": ConvLimits(dilation=0)}, "Conv: a dilation of 1; 0 at most"),
        ({"conv": ConvLimits(channels=3)}, "Conv: channels of a group: 4; 3 at most"),
        ({"conv": ConvLimits(weights=19)}, "Conv: weights of an output channel: 20; 19 at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_exceeded_limit_is_named(changes, violation):
    assert find_violations(parse(), replace(BOARD, **changes)) == (violation,)


def test_types_and_free_sizes_are_named():
    assert "Conv: tensors of float32; it takes float16" in find_violations(
        parse(), replace(BOARD, types=frozenset({"float16"}))
    )
    free = parse(GRAPH.replace("float[1, 4, 8, 6] x", "float[N, 4, 8, 6] x"))
    assert "input x: a size is free; it takes fixed sizes" in find_violations(free, BOARD)


def test_an_unknown_limit_is_not_checked():
    plain = Target(
        title="a board",
        source="a test",
        unknown="nearly all",
        opset=11,
        opsets=(11, 11),
        kernels={"Conv": 5},
        operators=frozenset({"Conv", "Relu", "ReduceMean"}),
    )
    assert find_violations(parse(), plain) == ()


@every_target
def test_every_board_gives_settings_that_it_takes_itself(name):
    board, settings = find_target(name), settings_for(name)
    lowest, highest = board.opsets
    assert max(lowest, LOWEST_OPSET) <= settings.onnx.opset <= min(highest, HIGHEST_OPSET)
    assert board.highest_ir is None or settings.onnx.ir <= board.highest_ir
    assert (settings.longest_kernel, settings.target, settings.form) == (board.longest_kernel, name, "conv")


@every_target
def test_every_board_names_operators_of_onnx_and_its_source(name):
    board = find_target(name)
    names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    assert board.operators | (board.on_cpu or frozenset()) | board.kernels.keys() | board.ranks.keys() <= names
    assert not board.operators & (board.on_cpu or frozenset())
    assert "github.com" in board.source
