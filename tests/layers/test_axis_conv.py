"""Convolution along an axis: every form against the definition, for both paddings, forward and backward."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from axis_reference import axis_conv_reference
from parckit.layers import ConstantAxisConv2d, axis_conv

FORMS = ("conv", "matmul")
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 7), (1, 4, 7, 1), (3, 2, 2, 2), (2, 5, 7, 8), (1, 3, 8, 5), (2, 4, 33, 16)]

# Rounding alone: up to 65 products of size 1, each off by one part in 2^53 (2^24) of itself, give less than these.
FLOAT64 = {"rtol": 0, "atol": 1e-12}
FLOAT32 = {"rtol": 0, "atol": 4e-5}

forms = pytest.mark.parametrize("form", FORMS)
every_form = pytest.mark.parametrize("form", [*FORMS, "auto"])
axes = pytest.mark.parametrize("axis", ["height", "width"])
# Fewer taps than the map is long, as many as cover it from everywhere, and more.
paddings = pytest.mark.parametrize("padding", ["circular", "zeros-few", "zeros-all", "zeros-more"])


def taps_of(length: int, padding: str) -> int:
    return {
        "circular": length,
        "zeros-few": (length // 2) * 2 + 1,
        "zeros-all": 2 * length - 1,
        "zeros-more": 2 * length + 7,
    }[padding]


def operands(
    shape: tuple[int, ...], axis: str, padding: str, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Random x, weight and bias that want gradients."""
    generator = torch.Generator().manual_seed(0)
    count = taps_of(shape[2] if axis == "height" else shape[3], padding)
    kernel = (shape[1], 1, count, 1) if axis == "height" else (shape[1], 1, 1, count)
    x, weight, bias = (
        torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in (shape, kernel, shape[1:2])
    )
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, axis: str, padding: str, form: str) -> Tensor:
    return axis_conv(x, weight, bias, axis=axis, padding=padding.split("-", maxsplit=1)[0], form=form)


def circular_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, axis: str, form: str) -> Tensor:
    return convolve(x, weight, bias, axis=axis, padding="circular", form=form)


def constant(weight: Tensor, bias: Tensor, *, axis: str, padding: str, length: int, form: str) -> ConstantAxisConv2d:
    padding = padding.split("-", maxsplit=1)[0]
    return ConstantAxisConv2d(weight, bias, axis=axis, padding=padding, length=length, form=form)


def define(x: Tensor, weight: Tensor, bias: Tensor, *, axis: str, padding: str) -> Tensor:
    return axis_conv_reference(x, weight, axis=axis, padding=padding.split("-", maxsplit=1)[0]) + bias.double().view(
        -1, 1, 1
    )


@pytest.mark.parametrize(
    ("shape", "layout"),
    [*((shape, torch.contiguous_format) for shape in SHAPES), (SHAPES[4], torch.channels_last)],
    ids=str,
)
@every_form
@paddings
@axes
def test_every_form_is_the_definition(axis, padding, form, shape, layout):
    for dtype, tolerance in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        x, weight, bias = (tensor.detach() for tensor in operands(shape, axis, padding, dtype))
        out = convolve(x.to(memory_format=layout), weight, bias, axis=axis, padding=padding, form=form)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), define(x, weight, bias, axis=axis, padding=padding), **tolerance)


def test_the_reference_is_the_formula():
    x, weight = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1), torch.tensor([2.0, 3.0, 5.0]).view(1, 1, 3, 1)
    for padding, expected in (
        ("circular", [532.0, 325.0, 253.0]),  # 2 x[i] + 3 x[i + 1] + 5 x[i + 2], indices modulo 3
        ("zeros", [53.0, 532.0, 320.0]),  # 2 x[i - 1] + 3 x[i] + 5 x[i + 1], zeros outside
    ):
        out = axis_conv_reference(x, weight, axis="height", padding=padding)
        torch.testing.assert_close(out.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 2, 1, 3), (2, 2, 4, 3)], ids=str)
@paddings
@axes
def test_gradients_are_those_of_finite_differences(axis, padding, shape):
    """Those of the form `conv` are torch's, and the next test compares the two."""

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(x, weight, bias, axis=axis, padding=padding, form="matmul")

    assert gradcheck(run, operands(shape, axis, padding))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@paddings
@axes
def test_all_forms_have_the_same_gradients(axis, padding, shape):
    gradients = []
    for form in FORMS:
        inputs = operands(shape, axis, padding)
        out = convolve(*inputs, axis=axis, padding=padding, form=form)
        gradients.append(torch.autograd.grad((out * out.detach().cos()).sum(), inputs))
    for conv, matmul in zip(*gradients, strict=True):
        # As FLOAT64, with sums over as much as a whole map.
        torch.testing.assert_close(conv, matmul, rtol=1e-11, atol=1e-11)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # torch itself calls it for forward-mode derivatives
@pytest.mark.parametrize("padding", ["circular", "zeros-few"])
@axes
def test_second_and_forward_mode_derivatives_are_those_of_finite_differences(axis, padding):
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(x, weight, bias, axis=axis, padding=padding, form="matmul")

    inputs = operands((2, 2, 3, 2), axis, padding)
    assert gradgradcheck(run, inputs)
    assert gradcheck(run, inputs, check_forward_ad=True, check_backward_ad=False)


@pytest.mark.parametrize("wanted", [0, 1], ids=["x", "weight"])
@forms
@paddings
def test_a_gradient_can_be_asked_for_alone(padding, form, wanted):
    inputs = operands((2, 3, 4, 5), "width", padding)
    inputs[1 - wanted].requires_grad_(False)
    convolve(*inputs[:2], axis="width", padding=padding, form=form).sum().backward()
    assert inputs[wanted].grad is not None
    assert inputs[1 - wanted].grad is None


@paddings
@axes
def test_the_matmul_form_keeps_no_matrix_for_the_backward_pass(axis, padding):
    x, weight, bias = operands((2, 3, 6, 5), axis, padding)
    saved = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        convolve(x, weight, bias, axis=axis, padding=padding, form="matmul")
    assert saved == [tuple(x.shape), (3, 2 * (6 if axis == "height" else 5))]


@forms
@paddings
@axes
def test_bfloat16_autocast_rounds_and_no_more(axis, padding, form):
    x, weight, bias = operands((2, 4, 6, 9), axis, padding, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = convolve(x, weight, bias, axis=axis, padding=padding, form=form)
    assert out.dtype == torch.bfloat16
    magnitude = define(x.abs(), weight.abs(), bias.abs(), axis=axis, padding=padding)
    expected = define(x, weight, bias, axis=axis, padding=padding)
    # bfloat16 rounds by one part in 2^9: x, weight, bias, the sum before the bias, and the result.
    assert ((out.double() - expected).abs() <= 4 * 2**-9 * magnitude).all()
    out.float().square().sum().backward()
    exact = operands((2, 4, 6, 9), axis, padding)
    convolve(*exact, axis=axis, padding=padding, form="conv").square().sum().backward()
    for rounded, true in zip((x, weight, bias), exact, strict=True):
        assert rounded.grad.dtype == torch.float32
        # The same roundings once more, on the way back; their signs are as good as random.
        assert (rounded.grad - true.grad).norm() <= 4 * 2**-9 * true.grad.norm()


def roundings_of_the_kernels_gradient(run: Callable[..., Tensor], axis: str, padding: str) -> float:
    """Return how far bfloat16 autocast moves the kernel's gradient over 512 images, in roundings of bfloat16."""
    rounded, exact = (operands((512, 4, 6, 9), axis, padding, dtype) for dtype in (torch.float32, torch.float64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = run(*rounded)
    out.float().square().sum().backward()
    run(*exact).square().sum().backward()
    return float((rounded[1].grad - exact[1].grad).norm() / exact[1].grad.norm()) / 2**-9


@forms
@axes
def test_many_images_do_not_add_roundings_to_the_kernels_gradient(axis, form):
    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return circular_conv(x, weight, bias, axis=axis, form=form)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, padding="same", groups=4)

    # The operands and the result are rounded, and the sum over images is in float32. In bfloat16 it is off by about 30.
    limit = 2.0
    if form == "conv":
        # In this form torch computes the sum. On a CPU without AVX-512 it sums in bfloat16, in any convolution. We ask
        # by measuring a plain convolution. Of the two errors the larger one is at most 1.4 times the smaller one.
        limit = max(limit, 2 * roundings_of_the_kernels_gradient(plain, axis, "zeros-few"))
    assert roundings_of_the_kernels_gradient(run, axis, "circular") <= limit


@forms
@paddings
@axes
def test_without_gradients_nothing_changes(axis, padding, form):
    inputs = operands((2, 3, 6, 5), axis, padding)
    with_gradients = convolve(*inputs, axis=axis, padding=padding, form=form)
    with torch.no_grad():
        without = convolve(*inputs, axis=axis, padding=padding, form=form)
    torch.testing.assert_close(without, with_gradients, **FLOAT64)


@every_form
@paddings
@axes
def test_constant_kernels_give_the_same(axis, padding, form):
    x, weight, bias = operands((2, 3, 11, 12), axis, padding)
    length = 11 if axis == "height" else 12
    conv = constant(weight, bias, axis=axis, padding=padding, length=length, form=form)
    expected = define(x, weight, bias, axis=axis, padding=padding)
    torch.testing.assert_close(conv(x), expected, **FLOAT64)
    # The second call has the matrix; a change of precision makes another.
    torch.testing.assert_close(conv(x), expected, **FLOAT64)
    torch.testing.assert_close(conv.float()(x.float()).double(), expected, **FLOAT32)
    assert conv.state_dict().keys() == {"weight", "bias"}
    assert conv.weight.numel() <= 3 * (2 * length - 1)


@forms
@pytest.mark.parametrize(("axis", "padding"), [("height", "circular"), ("width", "zeros-few"), ("width", "zeros-all")])
def test_exported_programs_give_the_same(axis, padding, form):
    x, weight, bias = operands((2, 3, 6, 5), axis, padding)
    length = 6 if axis == "height" else 5
    conv = constant(weight, bias, axis=axis, padding=padding, length=length, form=form)
    x = x.detach()
    conv(x)  # what is kept from a call must not enter the program
    program = torch.export.export(conv, (x,))
    assert not program.constants
    torch.testing.assert_close(program.module()(x), conv(x), **FLOAT64)


@every_form
@axes
def test_rolling_the_map_rolls_the_circular_result(axis, form):
    x, weight, bias = operands((2, 3, 6, 7), axis, "circular")
    out = circular_conv(x, weight, bias, axis=axis, form=form)
    for dim in (2, 3):
        rolled = circular_conv(x.roll(2, dim), weight, bias, axis=axis, form=form)
        torch.testing.assert_close(rolled, out.roll(2, dim), **FLOAT64)


@axes
def test_an_oversized_kernel_is_a_padded_convolution(axis):
    x, weight, bias = operands((2, 3, 6, 7), axis, "zeros-all")
    side = (weight.shape[2] // 2, weight.shape[3] // 2)
    expected = F.conv2d(x, weight, bias, padding=side, groups=3)
    for form in FORMS:
        out = convolve(x, weight, bias, axis=axis, padding="zeros", form=form)
        torch.testing.assert_close(out, expected, **FLOAT64)


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
        inputs = x[:, first : first + per_group]
        terms = axis_conv_reference(inputs, weight[o].unsqueeze(1), axis=axis, padding="circular")
        torch.testing.assert_close(out[:, o], terms.sum(1), **FLOAT64)


def test_dense_kernels_need_the_conv_form():
    with pytest.raises(ValueError, match=r"weight of shape \(4, 2, 5, 1\): form='matmul' needs a depthwise one"):
        circular_conv(torch.randn(1, 2, 5, 5), torch.randn(4, 2, 5, 1), axis="height", form="matmul")


@pytest.mark.parametrize(
    ("weight", "options", "said"),
    [
        ((3, 1, 4, 1), {}, r"weight of shape \(3, 1, 4, 1\): axis='height' needs taps \(5, 1\)"),
        ((3, 1, 4, 1), {"padding": "zeros"}, "needs an odd number of taps along axis='height' alone"),
        ((3, 1, 5, 3), {"padding": "zeros"}, "needs an odd number of taps along axis='height' alone"),
        ((3, 1, 5, 1), {"axis": "depth"}, r"axis='depth': choose from \('height', 'width'\)"),
        ((3, 1, 5, 1), {"padding": "same"}, r"padding='same': choose from \('circular', 'zeros'\)"),
        ((3, 1, 5, 1), {"form": "dft"}, r"form='dft': choose from \('auto', 'conv', 'matmul'\)"),
    ],
)
def test_what_does_not_fit_is_refused(weight, options, said):
    with pytest.raises(ValueError, match=said):
        axis_conv(torch.zeros(2, 3, 5, 4), torch.zeros(weight), **{"axis": "height", "padding": "circular"} | options)


@axes
def test_constant_kernels_may_be_changed_later(axis):
    x, weight, bias = operands((2, 3, 11, 12), axis, "circular")
    length = 11 if axis == "height" else 12
    conv = ConstantAxisConv2d(weight, bias, axis=axis, padding="circular", length=length, form="matmul")
    conv(x)
    conv.load_state_dict({"weight": 2 * weight, "bias": bias})
    torch.testing.assert_close(conv(x), define(x, 2 * weight, bias, axis=axis, padding="circular"), **FLOAT64)
    conv.weight.data.mul_(2)  # as quantizers do: no version counter tells of it
    torch.testing.assert_close(conv(x), define(x, 4 * weight, bias, axis=axis, padding="circular"), **FLOAT64)


def test_constant_kernels_seen_in_inference_mode_can_be_differentiated_through():
    x, weight, _ = operands((1, 3, 9, 12), "width", "circular")
    conv = ConstantAxisConv2d(weight, None, axis="width", padding="circular", length=12, form="matmul")
    with torch.inference_mode():
        conv(x.detach())
    (gradient,) = torch.autograd.grad(conv(x).square().sum(), x)
    (expected,) = torch.autograd.grad(circular_conv(x, weight, axis="width", form="conv").square().sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-11)  # sums over whole rows, twice


@pytest.mark.parametrize("batch", [1, 2])
def test_constant_kernels_follow_autocast(batch):
    x, weight, bias = operands((batch, 3, 9, 12), "width", "circular", torch.float32)
    conv = ConstantAxisConv2d(weight, bias, axis="width", padding="circular", length=12, form="matmul")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    assert conv(x).dtype == torch.float32


def test_constant_kernels_refuse_other_lengths():
    conv = ConstantAxisConv2d(torch.ones(3, 1, 1, 12), None, axis="width", padding="circular", length=12)
    with pytest.raises(ValueError, match=r"x of size \(12, 9\): this kernel is for width 12 alone"):
        conv(torch.zeros(1, 3, 12, 9))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # torch itself calls it for forward-mode derivatives
@every_form
@paddings
def test_transforms_of_torch_func_give_what_autograd_gives(padding, form):
    x, weight, _ = operands((3, 3, 9, 12), "width", padding)
    weights = torch.stack((weight.detach(), 2 * weight.detach()))

    def run(weight: Tensor, x: Tensor) -> Tensor:
        return convolve(x, weight, axis="width", padding=padding, form=form)

    def loss(weight: Tensor, image: Tensor) -> Tensor:
        return run(weight, image[None]).square().sum()

    # Gradients of every image alone.
    expected = torch.stack([torch.autograd.grad(loss(weight, image), weight)[0] for image in x])
    actual = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weight.detach(), x.detach())
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)  # as above
    # The derivative in the direction of x: the convolution is linear.
    _, tangent = torch.func.jvp(lambda x: run(weight, x), (x,), (x,))
    torch.testing.assert_close(tangent, run(weight, x), **FLOAT64)
    # Several kernels at once, with and without gradients.
    for enable in (True, False):
        with torch.set_grad_enabled(enable):
            both = torch.func.vmap(run, in_dims=(0, None))(weights, x)
            torch.testing.assert_close(both, torch.stack((run(weight, x), 2 * run(weight, x))), **FLOAT64)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python")  # a trace is for one size
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@forms
@paddings
def test_traces_can_be_saved(padding, form, tmp_path):
    x, weight, bias = (tensor.detach() for tensor in operands((2, 3, 6, 5), "width", padding))
    conv = constant(weight, bias, axis="width", padding=padding, length=5, form=form)
    torch.jit.trace(conv, x).save(tmp_path / "traced.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "traced.pt")(x), conv(x), **FLOAT64)
