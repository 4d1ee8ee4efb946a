"""The circular convolution: every form against the definition, forward and backward."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from parckit.layers import CircularConv2d, PositionEmbedding, circular_conv, circular_conv_reference, resize_along

FORMS = ("conv", "matmul")
AXES = ("height", "width")
DIM = {"height": 2, "width": 3}
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 7), (1, 4, 7, 1), (3, 2, 2, 2), (2, 5, 7, 8), (1, 3, 8, 5), (2, 4, 33, 16)]

# Rounding alone: up to 33 products of size 1, each off by one part in 2^53 (2^24) of itself, give less than these.
FLOAT64 = {"rtol": 0, "atol": 1e-12}
FLOAT32 = {"rtol": 0, "atol": 2e-5}

forms = pytest.mark.parametrize("form", FORMS)
axes = pytest.mark.parametrize("axis", AXES)


def kernel_shape(shape: tuple[int, ...], axis: str) -> tuple[int, ...]:
    return (shape[1], 1, shape[2], 1) if axis == "height" else (shape[1], 1, 1, shape[3])


def operands(shape: tuple[int, ...], axis: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, weight and bias that want gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = (shape, kernel_shape(shape, axis), shape[1:2])
    x, weight, bias = (torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [*FORMS, "auto"])
@axes
def test_every_form_is_the_definition(axis, form, shape, layout):
    for dtype, tolerance in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        x, weight, bias = (tensor.detach() for tensor in operands(shape, axis, dtype))
        found = circular_conv(x.to(memory_format=layout), weight, bias, axis=axis, form=form)
        expected = circular_conv_reference(x, weight, axis=axis) + bias.double().view(-1, 1, 1)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, **tolerance)


def test_the_reference_is_the_formula():
    x, weight = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1), torch.tensor([2.0, 3.0, 5.0]).view(1, 1, 3, 1)
    # out[i] = 2 x[i] + 3 x[i + 1] + 5 x[i + 2], indices modulo 3
    expected = torch.tensor([532.0, 325.0, 253.0], dtype=torch.float64).view(1, 1, 3, 1)
    torch.testing.assert_close(circular_conv_reference(x, weight, axis="height"), expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 1, 3), (2, 2, 3, 1), (2, 2, 4, 3)], ids=str)
@forms
@axes
def test_gradients_are_those_of_finite_differences(axis, form, shape):
    assert gradcheck(lambda x, w, b: circular_conv(x, w, b, axis=axis, form=form), operands(shape, axis))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@axes
def test_both_forms_have_the_same_gradients(axis, shape):
    gradients = []
    for form in FORMS:
        inputs = operands(shape, axis)
        out = circular_conv(*inputs, axis=axis, form=form)
        gradients.append(torch.autograd.grad((out * out.detach().cos()).sum(), inputs))
    for conv, matmul in zip(*gradients, strict=True):
        # As FLOAT64, with sums over as much as a whole map.
        torch.testing.assert_close(conv, matmul, rtol=1e-11, atol=1e-11)


def test_second_derivatives_need_the_conv_form():
    inputs = operands((2, 2, 3, 4), "width")
    assert gradgradcheck(lambda x, w, b: circular_conv(x, w, b, axis="width", form="conv"), inputs)
    out = circular_conv(*inputs, axis="width", form="matmul")
    (first,) = torch.autograd.grad(out.square().sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("wanted", [0, 1], ids=["x", "weight"])
@forms
def test_a_gradient_can_be_asked_for_alone(form, wanted):
    inputs = operands((2, 3, 4, 5), "width")
    inputs[1 - wanted].requires_grad_(False)
    circular_conv(*inputs[:2], axis="width", form=form).sum().backward()
    assert inputs[wanted].grad is not None
    assert inputs[1 - wanted].grad is None


@axes
def test_the_matmul_form_keeps_no_matrix_for_the_backward_pass(axis):
    x, weight, bias = operands((2, 3, 6, 5), axis)
    saved = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        circular_conv(x, weight, bias, axis=axis, form="matmul")
    assert saved == [tuple(x.shape), (3, weight.numel() // 3)]


@forms
@axes
def test_bfloat16_autocast_rounds_and_no_more(axis, form):
    x, weight, bias = operands((2, 4, 6, 9), axis, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = circular_conv(x, weight, bias, axis=axis, form=form)
    assert out.dtype == torch.bfloat16
    magnitude = circular_conv_reference(x.abs(), weight.abs(), axis=axis) + bias.abs().view(-1, 1, 1)
    expected = circular_conv_reference(x, weight, axis=axis) + bias.double().view(-1, 1, 1)
    # bfloat16 rounds by one part in 2^9: x, weight, bias, the sum before the bias, and the result.
    assert ((out.double() - expected).abs() <= 4 * 2**-9 * magnitude).all()
    out.float().square().sum().backward()
    exact = operands((2, 4, 6, 9), axis)
    circular_conv(*exact, axis=axis, form="conv").square().sum().backward()
    for rounded, true in zip((x, weight, bias), exact, strict=True):
        assert rounded.grad.dtype == torch.float32
        # The same roundings once more, on the way back; their signs are as good as random.
        assert (rounded.grad - true.grad).norm() <= 4 * 2**-9 * true.grad.norm()


@forms
@axes
def test_without_gradients_nothing_changes(axis, form):
    inputs = operands((2, 3, 6, 5), axis)
    with_gradients = circular_conv(*inputs, axis=axis, form=form)
    with torch.no_grad():
        without = circular_conv(*inputs, axis=axis, form=form)
    torch.testing.assert_close(without, with_gradients, **FLOAT64)


@forms
@axes
def test_exported_programs_give_the_same(axis, form):
    conv = CircularConv2d(3, 4, axis=axis, bias=True).double()
    conv.form = form
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(conv, (x,)).module()
    torch.testing.assert_close(program(x), conv(x), **FLOAT64)


@pytest.mark.parametrize("form", [*FORMS, "auto"])
@axes
def test_rolling_the_map_rolls_the_result(axis, form):
    x, weight, bias = operands((2, 3, 6, 7), axis)
    out = circular_conv(x, weight, bias, axis=axis, form=form)
    for dim in (2, 3):
        rolled = circular_conv(x.roll(2, dim), weight, bias, axis=axis, form=form)
        torch.testing.assert_close(rolled, out.roll(2, dim), **FLOAT64)


@pytest.mark.parametrize("form", ["conv", "auto"])
@pytest.mark.parametrize(("in_chans", "out_chans", "groups"), [(4, 6, 1), (4, 6, 2), (1, 3, 1), (2, 6, 2)], ids=str)
@axes
def test_dense_and_grouped_kernels_sum_over_their_channels(axis, in_chans, out_chans, groups, form):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, in_chans, 5, 6, generator=generator, dtype=torch.float64)
    per_group = in_chans // groups
    taps = (5, 1) if axis == "height" else (1, 6)
    weight = torch.randn(out_chans, per_group, *taps, generator=generator, dtype=torch.float64)
    out = circular_conv(x, weight, axis=axis, form=form)
    for o in range(out_chans):
        first = o // (out_chans // groups) * per_group
        terms = circular_conv_reference(x[:, first : first + per_group], weight[o].unsqueeze(1), axis=axis)
        torch.testing.assert_close(out[:, o], terms.sum(1), **FLOAT64)


def test_matmul_form_refuses_a_dense_kernel():
    with pytest.raises(ValueError, match=r"weight of shape \(4, 2, 5, 1\): form='matmul' needs a depthwise one"):
        circular_conv(torch.randn(1, 2, 5, 5), torch.randn(4, 2, 5, 1), axis="height", form="matmul")


def test_another_number_of_taps_is_refused():
    with pytest.raises(ValueError, match=r"weight of shape \(3, 1, 4, 1\): axis='height' .* needs taps \(5, 1\)"):
        circular_conv(torch.zeros(2, 3, 5, 4), torch.zeros(3, 1, 4, 1), axis="height")


def test_an_unknown_axis_is_refused():
    with pytest.raises(ValueError, match=r"axis='depth': choose from \('height', 'width'\)"):
        circular_conv(torch.zeros(2, 3, 5, 4), torch.zeros(3, 1, 5, 1), axis="depth")


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"form='fft': choose from \('auto', 'conv', 'matmul'\)"):
        circular_conv(torch.zeros(2, 3, 5, 4), torch.zeros(3, 1, 5, 1), axis="height", form="fft")


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("native", [1, 2, 5, 8])
@axes
def test_resizing_is_linear_interpolation_that_keeps_the_ends(axis, native, length):
    values = np.random.default_rng(0).standard_normal((2, 3, native))
    dim, other = DIM[axis], 5 - DIM[axis]
    resized = resize_along(torch.from_numpy(values).unsqueeze(other), length, axis=axis)
    positions = np.linspace(0, native - 1, length)
    expected = np.apply_along_axis(lambda row: np.interp(positions, range(native), row), -1, values)
    assert resized.shape[dim] == length
    assert resized.shape[other] == 1
    torch.testing.assert_close(resized.squeeze(other), torch.from_numpy(expected), **FLOAT64)


@axes
def test_resizing_to_the_native_length_gives_the_same_object(axis):
    weight = torch.randn(kernel_shape((1, 3, 5, 7), axis))
    assert resize_along(weight, max(weight.shape), axis=axis) is weight


@pytest.mark.parametrize("size", [(6, 6), (1, 1), (1, 9), (5, 11), (12, 3)], ids=str)
@axes
def test_modules_follow_the_size_of_the_map(axis, size):
    torch.manual_seed(0)
    conv = CircularConv2d(3, 6, axis=axis, bias=True).double()
    embedding = PositionEmbedding(3, 6, axis=axis).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    length = size[0] if axis == "height" else size[1]
    kernel = resize_along(conv.weight, length, axis=axis)
    torch.testing.assert_close(
        conv(x), circular_conv_reference(x, kernel, axis=axis) + conv.bias.view(-1, 1, 1), **FLOAT64
    )
    torch.testing.assert_close(embedding(x), x + resize_along(embedding.weight, length, axis=axis), **FLOAT64)


@pytest.mark.parametrize("make", [CircularConv2d, PositionEmbedding])
@pytest.mark.parametrize("size", [(7, 9), (9, 7)], ids=str)
@axes
def test_gradients_reach_every_tap_of_interpolated_kernels(axis, size, make):
    torch.manual_seed(0)
    module = make(2, 5, axis=axis)
    module(torch.randn(2, 2, *size)).square().sum().backward()
    assert (module.weight.grad != 0).all()


@pytest.mark.parametrize("groups", [None, 1, 2])
def test_kernels_start_uniform_within_the_fan_in(groups):
    torch.manual_seed(0)
    conv = CircularConv2d(32, 16, axis="width", groups=groups, bias=True)
    inputs_per_output = 16 * 32 // (groups or 32)
    bound = inputs_per_output**-0.5
    assert conv.weight.shape == (32, inputs_per_output // 16, 1, 16)
    # The largest of 512 and more uniform draws misses 0.95 of the bound with a chance below 1e-11.
    assert 0.95 * bound < conv.weight.abs().max() <= bound
    assert (conv.bias == 0).all()


def test_the_form_may_be_set_at_any_time_and_is_shown():
    conv = CircularConv2d(4, 6, axis="height")
    assert repr(conv) == "CircularConv2d(4, length=6, axis='height', form='auto')"
    conv.form = "conv"
    assert "form='conv'" in repr(conv)
