"""Global convolutions as matrix products: constant matrices in int8, stored as one row of each."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from parckit.deploy.quantize.passes import prepare_for_int8
from parckit.deploy.quantize.qdq import write_qdq
from parckit.deploy.quantize.rotations import store_rotations_once
from parckit.deploy.quantize.rules import usual_bits
from parckit.deploy.quantize.scheme import Scheme

CHANNELS, HEIGHT, WIDTH = 4, 6, 5
RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((1, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)


def ring(side: int) -> np.ndarray:
    """Return the kernels of all channels, each twice in a row, as a float file stores them."""
    return np.tile(RNG.standard_normal((CHANNELS, 1, side)), 2).astype(np.float32)


def rows_of(side: int, *, name: str) -> str:
    """Return the nodes with which the exporter makes (C, side, side) matrices from rings."""
    long = side * (2 * side - 1)
    return f"""
    sizes_{name} = Constant<value_ints = [{CHANNELS}, {side}, {2 * side}]>()
    flat_{name} = Constant<value_ints = [{CHANNELS}, {2 * side * side}]>()
    ends_{name} = Constant<value_ints = [{long}]>()
    shape_{name} = Constant<value_ints = [{CHANNELS}, {side}, {2 * side - 1}]>()
    side_{name} = Constant<value_ints = [{side}]>()
    e_{name} = Expand({name}, sizes_{name})
    f_{name} = Reshape(e_{name}, flat_{name})
    s_{name} = Slice(f_{name}, zero, ends_{name}, one)
    r_{name} = Reshape(s_{name}, shape_{name})
    rows_{name} = Slice(r_{name}, zero, side_{name}, two)
    """


@pytest.fixture(scope="module")
def exported() -> ir.Model:
    """Return a global convolution along the height, and one along the width."""
    image = f"float[1, {CHANNELS}, {HEIGHT}, {WIDTH}]"
    text = f"""<ir_version: 8, opset_import: ["": 18]> graph ({image} image) => ({image} out)
    <float[{CHANNELS}, 1, {2 * HEIGHT}] high, float[{CHANNELS}, 1, {2 * WIDTH}] wide>
    {{ zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>() two = Constant<value_ints = [2]>()
    {rows_of(HEIGHT, name="high")} {rows_of(WIDTH, name="wide")}
    tall = MatMul(rows_high, image)
    turned = Transpose<perm = [0, 2, 1]>(rows_wide)
    out = MatMul(tall, turned) }}"""
    proto = onnx.parser.parse_model(text)
    for name, side in (("high", HEIGHT), ("wide", WIDTH)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(ring(side), name))
    return ir.from_proto(proto)


def run(model: ir.Model) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    return session.run(None, {"image": IMAGE})[0]


@pytest.fixture(scope="module")
def prepared(exported) -> ir.Model:
    return prepare_for_int8(ir.from_proto(ir.to_proto(exported)))


def test_the_matrices_become_constants(exported, prepared):
    assert [node.op_type for node in prepared.graph] == ["MatMul", "MatMul"]
    assert run(prepared) == pytest.approx(run(exported), abs=1e-5)


@pytest.fixture(scope="module")
def quantized(prepared) -> ir.Model:
    bits, _ = usual_bits(prepared)
    largest = {"image": 4.0, "tall": 12.0, "out": float(np.abs(run(prepared)).max())}
    ranges = {name: (-number, number) for name, number in largest.items()}
    return write_qdq(prepared, Scheme(calibrator="minmax", ranges=ranges, bits=bits))


def test_a_product_with_matrices_is_computed_in_int8(prepared, quantized):
    """Both get one unsigned scale for all matrices, because engines take no scale for each."""
    expected = run(prepared)
    assert np.abs(run(quantized) - expected).max() < 0.03 * np.abs(expected).max()
    stacks = [value.const_value.numpy() for value in quantized.graph.initializers.values() if len(value.shape) == 3]
    assert [(steps.dtype, steps.shape) for steps in stacks] == [
        (np.uint8, (CHANNELS, HEIGHT, HEIGHT)),
        (np.uint8, (CHANNELS, WIDTH, WIDTH)),
    ]


def test_a_file_holds_one_row_of_each_matrix_and_computes_the_same(quantized):
    model = ir.from_proto(ir.to_proto(quantized))
    assert store_rotations_once(model) == 2
    shapes = {tuple(value.shape) for value in model.graph.initializers.values()}
    assert {(CHANNELS, HEIGHT), (CHANNELS, WIDTH)} <= shapes
    assert not any(len(shape) == 3 for shape in shapes)
    assert np.array_equal(run(model), run(quantized))


def test_matrices_of_other_kinds_stay(quantized):
    model = ir.from_proto(ir.to_proto(quantized))
    for value in model.graph.initializers.values():
        if len(value.shape) == 3:
            steps = value.const_value.numpy().copy()
            steps[-1, -1, -1] += 1
            value.const_value = ir.tensor(steps, name=value.name)
    assert store_rotations_once(model) == 0
