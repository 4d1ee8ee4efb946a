"""Passes that change a float graph before it is quantized: what it computes stays, or its error in int8 falls."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from conv_bundle import SIZE, conv_graph
from parckit.deploy.quantize.adaround import AdaRoundSettings, learn_roundings, round_layer
from parckit.deploy.quantize.bias_correction import correct_biases, mean_shift
from parckit.deploy.quantize.equalization import equalize
from parckit.deploy.quantize.gptq import round_by_gptq, round_rows
from parckit.deploy.quantize.grids import LARGEST_STEP, weight_grid
from parckit.deploy.quantize.histograms import float_tensors, run_activations
from parckit.deploy.quantize.layers import convolve, seen_by, size_of_output
from parckit.deploy.quantize.narrowing import narrow_ranges
from parckit.deploy.quantize.norm_folding import fold_norm_scales
from parckit.deploy.quantize.origins import find_origins
from parckit.deploy.quantize.passes import prepare_for_int8
from parckit.deploy.quantize.qdq import write_qdq
from parckit.deploy.quantize.rules import usual_bits
from parckit.deploy.quantize.saturation import LARGEST_PAIR
from parckit.deploy.quantize.scheme import Scheme

RNG = np.random.default_rng(0)
IMAGES = [RNG.standard_normal((1, 3, *SIZE)).astype(np.float32) for _ in range(8)]


def read(proto: onnx.ModelProto) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def run(model: ir.Model, images: list[np.ndarray] = IMAGES) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image})[0] for image in images])


def norm_graph(layer: str, *, with_bias: bool = True) -> onnx.ModelProto:
    """Return a layer norm over 6 channels, whose scales differ by 1000, and a layer after it."""
    weights = {
        "scale": np.array([1000.0, 1.0, -2.0, 0.5, 1e-9, 3.0]),
        "shift": RNG.standard_normal(6),
        "w": RNG.standard_normal({"MatMul": (6, 4), "Gemm": (4, 6), "Conv": (4, 6, 1, 1)}[layer]),
        "b": RNG.standard_normal(4),
    }
    shape = [5, 6] if layer == "Gemm" else [1, 5, 5, 6]
    nodes = [helper.make_node("LayerNormalization", ["image", "scale", "shift"], ["normed"], "norm")]
    if layer == "MatMul":
        nodes.append(helper.make_node("MatMul", ["normed", "w"], ["product" if with_bias else "out"], "layer"))
        nodes += [helper.make_node("Add", ["product", "b"], ["out"], "add")] if with_bias else []
    elif layer == "Gemm":
        nodes.append(helper.make_node("Gemm", ["normed", "w", *["b"][:with_bias]], ["out"], "layer", transB=1))
    else:
        nodes.append(helper.make_node("Transpose", ["normed"], ["moved"], "move", perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Conv", ["moved", "w", *["b"][:with_bias]], ["out"], "layer"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items() if n in used]
    graph = helper.make_graph(nodes, "norm", [image], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("layer", ["MatMul", "Gemm", "Conv"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_scales_of_a_norm_move_into_the_next_layer(layer, with_bias):
    model = read(norm_graph(layer, with_bias=with_bias))
    images = [RNG.standard_normal((5, 6) if layer == "Gemm" else (1, 5, 5, 6)).astype(np.float32)]
    before = run(model, images)
    assert fold_norm_scales(model) == 1
    # float32 adds products of up to 1000 in another order.
    assert run(model, images) == pytest.approx(before, rel=1e-4, abs=1e-3)
    scale = model.graph.initializers["scale"].const_value.numpy()
    assert np.abs(scale).max() <= 1.0
    assert fold_norm_scales(model) == 1, "a second fold changes nothing, and is no error"
    assert run(model, images) == pytest.approx(before, rel=1e-4, abs=1e-3)


def test_a_norm_that_something_else_reads_is_left_alone():
    proto = norm_graph("MatMul")
    proto.graph.output.append(helper.make_tensor_value_info("normed", TensorProto.FLOAT, None))
    assert fold_norm_scales(read(proto)) == 0


def test_equalization_balances_channels_and_keeps_the_answers():
    proto = conv_graph()
    for constant in proto.graph.initializer:
        if constant.name in ("w2", "b2"):
            numbers = numpy_helper.to_array(constant) * np.logspace(-1, 2, 8).reshape(
                -1, *[1] * (len(constant.dims) - 1)
            )
            constant.CopyFrom(numpy_helper.from_array(numbers.astype(np.float32), constant.name))
    model = read(proto)
    before = run(model)
    spread = spread_of(model, "relu")
    # The depthwise and the pointwise convolution, with a ReLU between them; a SiLU would not let a factor through.
    assert equalize(model, IMAGES) == 1
    assert run(model) == pytest.approx(before, rel=1e-4, abs=1e-4)
    # The square root, because the weights of the pointwise convolution share the work.
    assert spread_of(model, "relu") < 2 * spread**0.5


def spread_of(model: ir.Model, tensor: str) -> float:
    """Return how many times larger than the median the largest channel of an activation is."""
    tensors = {tensor: float_tensors(ir.to_proto(model))[tensor]}
    arrays = [
        np.abs(array).max(axis=(0, 2, 3)) for _, array in run_activations(ir.to_proto(model), IMAGES, tensors=tensors)
    ]
    largest = np.max(arrays, axis=0)
    return float(largest.max() / np.median(largest))


def residual_graph(*, ending: str = "Conv") -> onnx.ModelProto:
    """Return image -> conv, bias, matrix along the height, residual sum, gate, residual sum, depthwise conv.

    Channel 0 is 300 times as large as the others along the residual path, and is read with small weights.
    """
    width, (height, _) = 8, SIZE
    large = np.array([300.0, *[1.0] * (width - 1)])[:, None, None]
    weights = {
        "w1": RNG.standard_normal((width, 3, 1, 1)) * large[..., None],
        "bias": RNG.standard_normal((width, 1, 1)) * large,
        "matrix": RNG.standard_normal((width, height, height)),
        "wb": RNG.standard_normal((width, width, 1, 1)) * large[..., None] / large,
        "bb": RNG.standard_normal(width) * large.reshape(-1),
        "wd": RNG.standard_normal((width, 1, 3, 3)) / large[..., None],
    }
    last = ["sum2"] if ending != "Conv" else ["sum2", "wd"]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["conv1"], "first"),
        helper.make_node("Add", ["conv1", "bias"], ["path"], "bias"),
        helper.make_node("MatMul", ["matrix", "path"], ["mixed"], "matrix"),
        helper.make_node("Add", ["path", "mixed"], ["sum1"], "sum1"),
        helper.make_node("Conv", ["sum1", "wb", "bb"], ["branch"], "branch"),
        helper.make_node("GlobalAveragePool", ["image"], ["mean"], "mean"),
        helper.make_node("ReduceMean", ["mean"], ["gate"], "gate"),
        helper.make_node("Mul", ["branch", "gate"], ["gated"], "scale"),
        helper.make_node("Add", ["sum1", "gated"], ["sum2"], "sum2"),
        helper.make_node(ending, last, ["result"], "last", **({"group": width} if ending == "Conv" else {})),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "residual", [image], [result], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_equalization_follows_a_residual_path():
    model = read(residual_graph())
    before, spread = run(model), spread_of(model, "sum2")
    assert equalize(model, IMAGES) == 1
    # Relative to the largest number, because float32 adds numbers of other sizes now.
    assert np.abs(run(model) - before).max() < 1e-5 * np.abs(before).max()
    assert spread_of(model, "sum2") < spread / 20


def test_a_path_that_ends_in_a_function_is_left_alone(caplog):
    """Tanh of s * x is not s times the tanh of x."""
    model = read(residual_graph(ending="Tanh"))
    before = run(model)
    with caplog.at_level("INFO"):
        assert equalize(model, IMAGES) == 0
    assert "nothing can be equalized" in caplog.text
    assert np.array_equal(run(model), before)


def test_equalization_compares_weights_with_the_largest_of_the_same_output():
    """Every output has a scale of its own, so factors do not change if an output's weights are all larger."""
    graphs = [conv_graph(), conv_graph()]
    (weights,) = (constant for constant in graphs[1].graph.initializer if constant.name == "w3")
    numbers = numpy_helper.to_array(weights) * np.logspace(0, 3, weights.dims[0], dtype=np.float32)[:, None, None, None]
    weights.CopyFrom(numpy_helper.from_array(numbers, "w3"))
    models = [read(graph) for graph in graphs]
    for model in models:
        equalize(model, IMAGES)
    one, other = (model.graph.initializers["w2"].const_value.numpy() for model in models)
    assert one == pytest.approx(other)


def scheme_for(model: ir.Model) -> Scheme:
    proto = ir.to_proto(model)
    ranges: dict[str, tuple[float, float]] = {}
    for name, array in run_activations(proto, IMAGES, tensors=float_tensors(proto)):
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = (min(low, float(array.min())), max(high, float(array.max())))
    bits, _ = usual_bits(model)
    return Scheme(calibrator="minmax", ranges=ranges, bits=bits)


def conv_node(**attributes: object) -> ir.Node:
    return ir.node("Conv", [ir.Value(name="x"), ir.Value(name="w")], attributes)


def test_a_shift_of_means_is_that_of_the_outputs():
    node = conv_node(pads=[1, 1, 0, 1], strides=[2, 1], dilations=[1, 2], group=2)
    images, weights, error = (RNG.standard_normal(shape) for shape in ((5, 4, 9, 9), (6, 2, 3, 3), (6, 2, 3, 3)))
    outputs = [convolve(*map(torch.from_numpy, (images, kernel)), node) for kernel in (weights + error, weights)]
    expected = (outputs[0] - outputs[1]).mean(dim=(0, 2, 3)).numpy()
    assert mean_shift(error, images.mean(axis=0), node=node) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rounded_first", [False, True])
def test_corrected_biases_take_the_error_of_the_means_back(rounded_first):
    images = [image + 1 for image in IMAGES]
    errors = []
    for corrects in (False, True):
        model = read(conv_graph())
        before = run(model, images)
        original = ir.to_proto(model)
        scheme = replace(scheme_for(model), bits={"pointwise": 8})
        # Coarse weights: the error of their means shows.
        coarse = {"w3": tuple(np.abs(model.graph.initializers["w3"].const_value.numpy()).max(axis=(1, 2, 3)) / 3)}
        scheme = replace(scheme, weight_scales=coarse, ranges=dict.fromkeys(float_tensors(original), (-40.0, 40.0)))
        if rounded_first:
            scheme = round_by_gptq(model, scheme, images)
        if corrects:
            assert correct_biases(model, scheme, images, original=original) == 1
        errors.append(np.abs((run(write_qdq(model, scheme), images) - before).mean(axis=0)).max())
    assert errors[1] < errors[0] / 2


def similar_channels() -> np.ndarray:
    """Return images whose neighbouring channels are nearly the same: errors of their weights can cancel out."""
    rng = np.random.default_rng(1)
    return (rng.standard_normal((16, 1, 8, 8)) + 0.1 * rng.standard_normal((16, 6, 8, 8))).astype(np.float32)


def random_weights(groups: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).standard_normal((4, 6 // groups, 3, 3)))


@pytest.mark.parametrize("groups", [1, 2])
def test_gptq_has_a_smaller_error_than_the_nearest_numbers(groups):
    node = conv_node(pads=[1, 1, 1, 1], group=groups)
    inputs, weights = torch.from_numpy(similar_channels()).double(), random_weights(groups)
    rows = weights.permute(0, 2, 3, 1).reshape(groups, 4 // groups, -1)
    seen = seen_by(node, inputs, kernel_size=(3, 3), positions=torch.arange(64)).flatten(1, 2)
    # What an output sees, times its weights, is the convolution.
    products = (seen @ rows.mT).reshape(groups, 16, 64, -1).permute(1, 0, 3, 2).reshape(16, 4, 8, 8)
    torch.testing.assert_close(products, convolve(inputs, weights, node))
    scales = rows.abs().amax(dim=2, keepdim=True) / 6
    covariance = seen.mT @ seen / seen.shape[1]
    rounded = round_rows(rows, scales, covariance)
    assert torch.equal((rounded / scales).round() * scales, rounded)
    nearest = (rows / scales).round() * scales
    errors = [
        float(((one - rows) @ covariance @ (one - rows).mT).diagonal(dim1=1, dim2=2).sum())
        for one in (rounded, nearest)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_windows_are_those_of_a_convolution_with_strides_and_dilations():
    node = conv_node(pads=[1, 2, 0, 1], strides=[2, 1], dilations=[1, 2])
    inputs, weights = torch.from_numpy(similar_channels()).double(), random_weights(1)
    outputs = convolve(inputs, weights, node).flatten(2)
    assert outputs.shape[2] == prod(size_of_output(node, inputs, kernel_size=(3, 3)))
    positions = torch.tensor([3, 0, outputs.shape[2] - 1])
    (seen,) = seen_by(node, inputs, kernel_size=(3, 3), positions=positions)
    rows = weights.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close((seen @ rows.mT).mT, outputs[:, :, positions])


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
@pytest.mark.parametrize("mean", [1.0, 1000.0])
def test_gptq_rounds_matrices(operator, mean):
    """Their biases are not corrected, so the error of the mean counts, too."""
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((6, 4)).astype(np.float32)
    images = [(mean + 0.1 * rng.standard_normal((20, 6))).astype(np.float32) for _ in range(3)]
    node = helper.make_node(operator, ["image", "w"], ["out"], "layer")
    image, out = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [20, side]) for name, side in (("image", 6), ("out", 4))
    )
    graph = helper.make_graph([node], "matrix", [image], [out], [numpy_helper.from_array(weights, "w")])
    model = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    scheme = Scheme(calibrator="minmax", ranges={}, bits={"layer": 8})
    scheme = round_by_gptq(model, scheme, images, avoid_saturation=False)
    rounded, scales = model.graph.initializers["w"].const_value.numpy(), np.array(scheme.weight_scales["w"])
    assert rounded / scales == pytest.approx(np.round(rounded / scales), abs=1e-4)
    inputs = np.concatenate(images).astype(np.float64)
    nearest = np.round(weights / scales) * scales
    gptq, plain = (np.square(inputs @ (numbers - weights)).mean() for numbers in (rounded, nearest))
    assert gptq < plain


def test_gptq_finds_the_best_of_all_roundings_of_two_weights():
    """Two inputs that are nearly equal: only the sum of the weights counts."""
    covariance = torch.tensor([[[1.0, 0.99], [0.99, 1.0]]], dtype=torch.float64)
    rows = torch.tensor([[[0.4, 0.4]]], dtype=torch.float64)
    assert round_rows(rows, torch.ones(1, 1, 1, dtype=torch.float64), covariance).tolist() == [[[0.0, 1.0]]]


def test_gptq_keeps_pairs_within_what_a_processor_adds():
    size = 8
    rows = torch.full((1, 3, size), 127.4, dtype=torch.float64)
    noise = torch.from_numpy(RNG.standard_normal((1, size, 20)))
    scales, covariance = torch.ones(1, 3, 1, dtype=torch.float64), noise @ noise.mT
    second = [place % 2 == 1 for place in range(size)]
    steps = round_rows(rows, scales, covariance, second_of_pair=second)
    assert float((steps[..., ::2] + steps[..., 1::2]).abs().max()) <= LARGEST_PAIR
    assert float(steps.abs().max()) <= LARGEST_STEP
    assert float(round_rows(rows, scales, covariance).min()) > LARGEST_PAIR / 2


def test_gptq_rounds_the_layers_whose_inputs_are_known():
    model = read(conv_graph())
    before = {name: value.const_value.numpy().copy() for name, value in model.graph.initializers.items()}
    scheme = round_by_gptq(model, scheme_for(model), IMAGES[:7])
    # The matrix behind the global pooling sees one position of each of the 7 images, and has 8 weights an output.
    assert set(scheme.weight_scales) == {"w1", "w2", "w3"}
    for name, scales in scheme.weight_scales.items():
        weights = model.graph.initializers[name].const_value.numpy()
        steps = weights / np.array(scales).reshape(-1, 1, 1, 1)
        assert steps == pytest.approx(np.round(steps), abs=1e-4)
        assert (weights != before[name]).any()
    assert np.isfinite(run(write_qdq(model, scheme))).all()


def test_learned_roundings_have_a_smaller_error_than_the_nearest_numbers():
    node = conv_node(pads=[1, 1, 1, 1])
    weights, inputs = RNG.standard_normal((4, 6, 3, 3)).astype(np.float32), similar_channels()
    scale = weight_grid(weights, axis=0).scale * 20
    settings = AdaRoundSettings(steps=300, learning_rate=3e-2)
    learned = round_layer(weights, scale, inputs, node=node, settings=settings)
    steps = learned / scale.reshape(-1, 1, 1, 1)
    assert steps == pytest.approx(np.round(steps), abs=1e-4)
    assert np.abs(learned - weights).max() <= scale.max() * 1.001
    nearest = np.round(weights / scale.reshape(-1, 1, 1, 1)) * scale.reshape(-1, 1, 1, 1)
    errors = [_output_error(candidate - weights, inputs) for candidate in (learned, nearest)]
    assert errors[0] < 0.7 * errors[1]


def _output_error(error: np.ndarray, inputs: np.ndarray) -> float:
    windows = np.lib.stride_tricks.sliding_window_view(inputs.astype(np.float64), (3, 3), axis=(2, 3))
    return float((np.einsum("oikl,bihwkl->bohw", error, windows) ** 2).mean())


def test_a_scheme_with_learned_roundings_stores_the_scales_of_its_grids():
    model = read(conv_graph())
    scheme = learn_roundings(model, scheme_for(model), IMAGES, settings=AdaRoundSettings(steps=2, pictures=4))
    assert set(scheme.weight_scales) == {"w1", "w2", "w3"}
    for name, scales in scheme.weight_scales.items():
        weights = model.graph.initializers[name].const_value.numpy()
        steps = weights / np.array(scales).reshape(-1, 1, 1, 1)
        assert steps == pytest.approx(np.round(steps), abs=1e-4)
    assert np.isfinite(run(write_qdq(model, scheme))).all()


def test_ranges_end_where_the_next_function_is_flat():
    model = read(conv_graph())
    ranges = {"conv1": (-40.0, 12.0), "silu": (-0.3, 12.0), "conv2": (-7.0, 6.0), "excited": (-9.0, 1.0)}
    assert narrow_ranges(model, ranges) == {
        "conv1": (-8.0, 12.0),
        "silu": (-0.3, 12.0),
        "conv2": (0.0, 6.0),
        "excited": (-3.0, 1.0),
    }


def test_a_node_says_which_nodes_of_the_file_it_stands_for():
    """The gate's HardSigmoid moves into its convolution. What computes with constants only is named by nobody."""
    proto = conv_graph()
    proto.graph.node.insert(0, helper.make_node("Neg", ["w3"], ["w4"], "negate"))
    next(node for node in proto.graph.node if node.name == "pointwise").input[1] = "w4"
    model = prepare_for_int8(read(proto))
    new = {node.name for node in model.graph} - {node.name for node in proto.graph.node}
    assert len(new) == 2
    assert find_origins(model, proto) == dict.fromkeys(new, ("gate", "share"))
