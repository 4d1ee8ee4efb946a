"""Which norms `fuse` folds in anybody's model, and which it must leave alone."""

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, Conv2dSame, ScaledStdConv2d
from timm.utils import reparameterize_model
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from backbones import as_if_trained
from parckit.layers import CircularConv2d, OversizedConv2d, ParCConv2d
from parckit.models import fuse

# Folding changes the order of some hundred float64 roundings, 1e-16 each.
EXACT = 1e-10

SIZE = (9, 12)


class Wired(nn.Module):
    """Parts behind a stem, and a function that wires them: what is read how often is told by that function alone."""

    def __init__(self, wiring, *, conv, norm, second=None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.conv, self.norm, self.second = conv, norm, second
        self.wiring = wiring

    def forward(self, x):
        return self.wiring(self, self.stem(x).relu())


def conv(kernel_size=3, **kwargs):
    return nn.Conv2d(8, 8, kernel_size, **kwargs)


def norm():
    return nn.BatchNorm2d(8)


def half_computed(parc):
    weight_norm(parc.height)
    return parc


def norms_left(model, size=SIZE):
    """Fuse, compare with the original, and count the norms that are left."""
    model = as_if_trained(model).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fused = fuse(model, size=size)
    with torch.no_grad():
        expected, actual = ([out] if torch.is_tensor(out) else out for out in (model(x), fused(x)))
    for one, other in zip(expected, actual, strict=True):
        assert (one - other).abs().max() <= EXACT * one.abs().max()
    return sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


CONVS = [
    lambda: conv(padding=1),
    lambda: conv(padding=1, bias=False, groups=4),
    lambda: conv(padding=1, padding_mode="circular", stride=2),
    lambda: Conv2dSame(8, 8, 3, stride=2),
    lambda: CircularConv2d(8, 5, axis="height"),
    lambda: CircularConv2d(8, 5, axis="width", groups=1, bias=True),
    lambda: OversizedConv2d(8, 7, axis="height"),
    lambda: OversizedConv2d(8, 31, axis="width"),
    lambda: OversizedConv2d(8, 7, axis="width", interpolate=True),
    lambda: ParCConv2d(8, (5, 12)),
    lambda: ParCConv2d(8, (9, 7), groups=1),
    lambda: ParCConv2d(8, (9, 7), with_pe=False),
    lambda: ParCConv2d(8, (9, 7), groups=(3, 1)),
]


@pytest.mark.parametrize("make", CONVS, ids=lambda make: repr(make()).splitlines()[0])
def test_a_norm_goes_into_the_convolution_before_it(make):
    assert norms_left(Wired(lambda m, x: m.norm(m.conv(x)).relu(), conv=make(), norm=norm())) == 0


@pytest.mark.parametrize("kwargs", [{"kernel_size": 1}, {"bias": False}, {"groups": 2}, {"padding": "valid"}], ids=str)
def test_a_norm_goes_into_a_convolution_behind_it_that_pads_nothing(kwargs):
    # Over its input, which the skip reads as well, the norm cannot go into the stem.
    wiring = lambda m, x: m.conv(m.norm(x)).mean((2, 3), keepdim=True) + x  # noqa: E731
    assert norms_left(Wired(wiring, conv=conv(**kwargs), norm=norm())) == 0


def test_a_convolution_may_stand_between_two_norms():
    wiring = lambda m, x: m.second(m.conv(m.norm(x))).relu()  # noqa: E731
    assert norms_left(Wired(wiring, conv=conv(groups=2), norm=norm(), second=norm())) == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda: BatchNormAct2d(8, act_layer=nn.GELU),
        lambda: BatchNormAct2d(8, act_layer="relu", inplace=True, drop_layer=nn.Dropout),
        lambda: nn.BatchNorm2d(8, affine=False),
    ],
)
def test_norms_come_in_kinds(other):
    assert norms_left(Wired(lambda m, x: m.norm(m.conv(x)), conv=conv(), norm=other())) == 0


def test_a_norm_under_two_names_is_replaced_under_both():
    model = Wired(lambda m, x: m.norm(m.conv(x)), conv=conv(), norm=norm())
    model.second = model.norm
    assert norms_left(model) == 0


DECLINED = {
    "the convolution's output is read twice": (lambda m, x: m.norm(y := m.conv(x)) + y, {}),
    "the convolution's output is changed in place": (lambda m, x: m.norm(m.conv(x).mul_(2)), {}),
    "the convolution's output is returned": (lambda m, x: [y := m.conv(x), m.norm(y)], {}),
    "the convolution ran twice": (lambda m, x: m.norm(m.conv(x)) + m.conv(x.relu()), {}),
    "the norm ran twice": (lambda m, x: m.norm(m.conv(x)).mean((2, 3), keepdim=True) + m.norm(x), {}),
    "two norms read the convolution": (lambda m, x: m.norm(y := m.conv(x)) + m.second(y), {"second": norm}),
    "something stands between": (lambda m, x: m.norm(m.conv(x).relu()), {}),
    "the convolution behind pads": (lambda m, x: m.conv(m.norm(x)), {"conv": lambda: conv(padding=1)}),
    "the norm's output is read twice": (lambda m, x: m.conv(y := m.norm(x)).mean((2, 3), keepdim=True) + y, {}),
    "an activation stands between": (
        lambda m, x: m.conv(m.norm(x)),
        {"norm": lambda: BatchNormAct2d(8, act_layer="relu")},
    ),
    "the weights are standardised first": (
        lambda m, x: m.norm(m.conv(x)),
        {"conv": lambda: ScaledStdConv2d(8, 8, 3)},
    ),
    "the weights are computed": (lambda m, x: m.norm(m.conv(x)), {"conv": lambda: weight_norm(conv())}),
    "the weights of one half of ParC are computed": (
        lambda m, x: m.norm(m.conv(x)),
        {"conv": lambda: half_computed(ParCConv2d(8, (9, 7)))},
    ),
    "the norm uses the batch": (
        lambda m, x: m.norm(m.conv(x)),
        {"norm": lambda: nn.BatchNorm2d(8, track_running_stats=False)},
    ),
}


@pytest.mark.parametrize("why", DECLINED)
def test_norms_stay_where(why):
    wiring, parts = DECLINED[why]
    parts = {name: make() for name, make in ({"conv": conv, "norm": norm} | parts).items()}
    assert norms_left(Wired(wiring, **parts)) == sum(isinstance(part, nn.BatchNorm2d) for part in parts.values())


@pytest.mark.parametrize("watched", ["conv", "norm"])
def test_norms_stay_where_a_hook_watches(watched):
    model = Wired(lambda m, x: m.norm(m.conv(x)), conv=conv(), norm=norm())
    model.get_submodule(watched).register_forward_hook(lambda module, args, out: 2 * out)
    assert norms_left(model) == 1


def test_norms_stay_where_one_half_of_parc_runs_elsewhere_too():
    parc = ParCConv2d(8, (9, 7))
    wiring = lambda m, x: m.norm(m.conv(x)) + m.second(x[:, :4]).repeat(1, 2, 1, 1)  # noqa: E731
    assert norms_left(Wired(wiring, conv=parc, norm=norm(), second=parc.height)) == 1


@pytest.mark.parametrize("watched", ["height", "width", "pe_height"])
def test_norms_stay_where_a_hook_watches_inside_parc(watched):
    model = Wired(lambda m, x: m.norm(m.conv(x)), conv=ParCConv2d(8, (9, 7)), norm=norm())
    model.conv.get_submodule(watched).register_forward_hook(lambda module, args, out: out.square())
    assert norms_left(model) == 1


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2_050",
        "mobilenetv3_small_050",
        "mobilevit_xxs",
        "regnetx_002",
        "test_byobnet",
        "test_convnext",
        "test_efficientnet",
        "test_resnet",
        "test_vit",
        "tf_mobilenetv3_small_minimal_100",  # pads as TensorFlow does
    ],
)
def test_no_norm_is_left_in_models_of_timm(name):
    # test_vit has a size of its own.
    size = (160, 160) if name == "test_vit" else (33, 65)
    assert norms_left(timm.create_model(name), size) == 0


@pytest.mark.parametrize("feature_cls", [None, "hook", "getter", "fx"])
def test_features_of_timms_models_stay_equal(feature_cls):
    options = {} if feature_cls is None else {"feature_cls": feature_cls}
    # Compares every map with the original's, too.
    assert norms_left(timm.create_model("test_efficientnet", features_only=True, **options), (33, 65)) == 0


def test_norms_behind_sums_of_branches_go_when_timm_merges_the_branches():
    model = timm.create_model("repvit_m0_9")
    assert norms_left(model, (33, 65)) > 0
    assert norms_left(reparameterize_model(model), (33, 65)) == 0
