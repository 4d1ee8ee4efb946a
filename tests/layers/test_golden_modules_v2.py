"""Our layers against single modules of the official ParCNetV2: every case of `modules_v2.npz`."""

import functools

import pytest
import torch
from torch import Tensor, nn

from golden_fixtures import GOLDEN, Case, fill, official_input, read_case
from parckit.layers import (
    BifurcateGateUnit,
    CenteredL2Norm2d,
    OversizedConv2d,
    OversizedMixer,
    ParCV2Block,
    ParCV2Downsample,
    ParCV2Stem,
    axis_conv,
    resize_along,
)
from parckit.models.official import rename_official_key

LENGTH = 13  # native taps of the oversized kernels
MODULES = {  # official module -> (official names in front of its keys, ours, our module)
    "parc_v2_mixer": ("stages.0.0.token_mixer.", "stages.0.0.mixer.", OversizedMixer(8, LENGTH)),
    "bgu": ("stages.0.0.mlp.", "stages.0.0.gate.", BifurcateGateUnit(8)),
    "norm_l2": ("norm0.", "feature_norms.0.", CenteredL2Norm2d(8)),
    "block_scale": ("stages.0.0.", "stages.0.0.", ParCV2Block(8, LENGTH, scale_skips=True)),
    "stem": ("downsample_layers.0.", "stem.", ParCV2Stem(3, 8)),
    "downsample": ("downsample_layers.1.", "stages.1.0.", ParCV2Downsample(8, 12)),
}
KERNELS = {
    "oversize_fixed__2x6x9x10": False,
    "oversize_interp__2x6x9x10": True,
    "oversize_interp_same__2x6x7x7": True,
}


@functools.cache
def modules() -> Case:
    return read_case(GOLDEN / "modules_v2.npz")


def weights_of(name: str) -> dict[str, Tensor]:
    return {key: fill(key, shape, gain=modules().meta["gain"]) for key, shape in modules().meta["keys"][name]}


def input_of(case: str) -> Tensor:
    facts = modules().meta["arrays"][case]
    return official_input(facts["input_tag"], facts["input_shape"])


def load(name: str) -> nn.Module:
    """Our module with the official weights, in the way that whole models load them."""
    official, ours, module = MODULES[name]
    shapes = {key: tensor.shape for key, tensor in module.state_dict().items()}
    renamed = {
        rename_official_key(official + key, model="parcnetv2_xt").removeprefix(ours): w
        for key, w in weights_of(name).items()
    }
    module.load_state_dict({key: tensor.view(shapes[key]) for key, tensor in renamed.items()})
    return module.eval()


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_blocks_give_the_official_outputs(name):
    (case,) = (case for case in modules().arrays if case.split("__")[0] == name)
    layout = modules().meta["arrays"][case]["layout"]
    x = input_of(case) if layout.startswith("input NCHW") else input_of(case).permute(0, 3, 1, 2)
    modules().assert_equal(case, load(name)(x).permute(0, 2, 3, 1))


@pytest.mark.parametrize("form", ["auto", "conv", "matmul"])
@pytest.mark.parametrize(("case", "interpolate"), KERNELS.items())
@torch.no_grad()
def test_oversized_convolutions_give_the_official_outputs(case, interpolate, form):
    weights = weights_of(case.split("__")[0])
    x = input_of(case)
    for axis in ("height", "width"):
        conv = OversizedConv2d(6, LENGTH, axis=axis, interpolate=interpolate)
        conv.load_state_dict({"weight": weights[f"conv_{axis[0]}.weight"]})
        conv.form = form
        x = conv(x)
    modules().assert_equal(case, x)


@torch.no_grad()
def test_a_bias_and_kernels_resized_to_one_length_are_the_official_ones():
    # We do not offer these two official options as modules: no official model has them.
    biased, resized = "oversize_fixed_bias__2x6x9x10", "oversize_interp_int7__2x6x9x10"
    for case in (biased, resized):
        weights, x = weights_of(case.split("__")[0]), input_of(case)
        for axis in ("height", "width"):
            weight = weights[f"conv_{axis[0]}.weight"]
            weight = resize_along(weight, 7, axis=axis) if case == resized else weight
            x = axis_conv(x, weight, weights.get(f"conv_{axis[0]}.bias"), axis=axis, padding="zeros")
        modules().assert_equal(case, x)


def test_no_stored_case_is_left_out():
    tested = {*MODULES, *(case.split("__")[0] for case in KERNELS), "oversize_fixed_bias", "oversize_interp_int7"}
    assert {case.split("__")[0] for case in modules().arrays} == tested


@pytest.mark.parametrize("name", ["bgu", "parc_v2_mixer"])
@torch.no_grad()
def test_the_tolerance_sees_the_tanh_approximation_of_gelu(name):
    (case,) = (case for case in modules().arrays if case.split("__")[0] == name)
    module = load(name)
    exact, module.act = module.act, nn.GELU(approximate="tanh")
    out = module(input_of(case).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    module.act = exact
    with pytest.raises(AssertionError):
        modules().assert_equal(case, out)


@torch.no_grad()
def test_norms_of_positions_without_contrast_are_zero_with_finite_gradients():
    norm, x = CenteredL2Norm2d(4), torch.full((1, 4, 2, 2), 3.0, requires_grad=True)
    with torch.enable_grad():
        out = norm(x)
        out.sum().backward()
    assert not out.any()
    assert x.grad.isfinite().all()
