"""Int8 weights that do not saturate, wherever the processor lacks VNNI."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from parckit.deploy.quantize.grids import LARGEST_STEP
from parckit.deploy.quantize.saturation import LARGEST_PAIR, scales_without_saturation
from parckit.networks.fake_quantizer import FakeQuantizer

SHAPES = {"pointwise": (4, 64, 1, 1), "dense": (4, 16, 3, 3), "odd channels": (4, 3, 3, 3), "depthwise": (4, 1, 3, 3)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def steps_of(weights: np.ndarray) -> np.ndarray:
    scales = scales_without_saturation(weights)
    return np.round(weights / scales[:, None, None, None]).astype(np.int8)


def convolved(steps: np.ndarray, pixel: int) -> np.ndarray:
    """Return the inner pixel of every channel, as ONNX Runtime's int8 convolution gives it, in steps of the output."""
    rows, chans, height, width = steps.shape
    groups = rows if chans == 1 else 1
    exact = steps.astype(np.int64).sum(axis=(1, 2, 3)) * pixel
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": steps,
        "ws": np.ones(rows, np.float32),
        "wz": np.zeros(rows, np.int8),
        "ys": np.float32(np.abs(exact).max() / 100),
        "yz": np.uint8(128),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"], pads=[height // 2, width // 2] * 2, group=groups),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    size = [1, chans * groups, 4, 4]
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.full(size, pixel, np.float32)})
    return np.abs(y[0, :, 2, 2] - exact) / constants["ys"]


@every_shape
def test_a_convolution_of_the_brightest_pixels_is_exact_in_onnx_runtime(shape):
    # Weights of one sign and alike: the worst case. With scales of the largest weight alone, AVX2 gives half of it.
    weights = np.random.default_rng(0).uniform(0.9, 1.0, shape).astype(np.float32)
    # The output is rounded to the nearest step.
    assert convolved(steps_of(weights), 255).max() <= 0.5


@every_shape
def test_two_neighbours_never_exceed_16_bits_and_weights_use_nearly_all_steps(shape):
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    steps = steps_of(weights).astype(int)
    assert np.abs(steps).max() <= LARGEST_STEP
    if shape[1] % 2 == 0:
        assert np.abs(steps[:, ::2] + steps[:, 1::2]).max() * 255 < 2**15
    # One bit less than 8 would leave 64 steps.
    assert (np.abs(steps).reshape(len(steps), -1).max(axis=1) > 64).all()


@every_shape
def test_training_with_fake_quantizers_and_quantization_afterwards_have_the_same_limit(shape):
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    quantizer = FakeQuantizer(8, channels=len(weights))
    # The smallest scales with which no weight is cut off; a fake quantizer enlarges those that would saturate.
    with torch.no_grad():
        quantizer.log_scale.copy_(torch.from_numpy(np.abs(weights)).flatten(1).amax(1).div(LARGEST_STEP).log())
        scales = quantizer.scale_of(torch.from_numpy(weights)).numpy()
        steps = quantizer(torch.from_numpy(weights)).numpy() / scales[:, None, None, None]
    assert scales == pytest.approx(scales_without_saturation(weights), rel=1e-6)
    if shape[1] % 2 == 0:
        assert np.abs(steps[:, ::2] + steps[:, 1::2]).max() <= LARGEST_PAIR + 1e-3


def test_matrix_products_have_their_output_channels_last():
    weights = np.random.default_rng(2).standard_normal((6, 5)).astype(np.float32)
    turned = scales_without_saturation(weights.T.copy())
    assert np.array_equal(scales_without_saturation(weights, axis=1), turned)
