"""Our layers against single modules of the official code: every case of `modules_parc.npz`."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden_fixtures import GOLDEN, Case, fill, official_input, read_case
from parckit.layers import Axis, CircularConv2d, ParCBlock, ParCConv2d, PositionEmbedding
from parckit.models.official import rename_official_key

LENGTH = 8  # native taps of the blocks
SIDE = 7  # native taps of the operators


@functools.cache
def modules() -> Case:
    return read_case(GOLDEN / "modules_parc.npz")


def weights_of(module: str, *, gain: float) -> dict[str, Tensor]:
    return {key: fill(key, shape, gain=gain) for key, shape in modules().meta["keys"][module]}


def parc_block(weights: dict[str, Tensor], *, length: int = LENGTH) -> ParCBlock:
    """A block of the official weights, in the way that whole models load them."""
    block = ParCBlock(
        32, length, hidden_dim=64, with_pe="meta_pe_1_H" in weights, with_gate="ca.fc.0.weight" in weights
    )
    stem = "layer_3.1.spatial_global_rep.0."
    renamed = {rename_official_key(stem + key, model="parcnet_s"): tensor for key, tensor in weights.items()}
    block.load_state_dict({name.removeprefix("stages.2.1.blocks.0."): tensor for name, tensor in renamed.items()})
    return block.eval()


def circular(weights: dict[str, Tensor], *, axis: Axis) -> nn.Module:
    """The official operator on one half: embedding, if it has one, then convolution with bias."""
    kernel = weights["gcc_conv.weight"]
    dim, per_group = kernel.shape[:2]
    conv = CircularConv2d(dim, SIDE, axis=axis, groups=dim // per_group, bias=True)
    conv.load_state_dict({"weight": kernel, "bias": weights["gcc_conv.bias"]})
    if "pe" not in weights:
        return conv
    embedding = PositionEmbedding(dim, SIDE, axis=axis)
    embedding.load_state_dict({"weight": weights["pe"]})
    return nn.Sequential(embedding, conv)


def parc_conv(weights: dict[str, Tensor], *, prefix: str) -> ParCConv2d:
    """The official operator on both halves."""
    half, per_group = weights[f"{prefix}_H.gcc_conv.weight"].shape[:2]
    conv = ParCConv2d(2 * half, (SIDE, SIDE), groups=half // per_group)
    halves = {"height": f"{prefix}_H", "width": f"{prefix}_W"}
    state = {f"pe_{axis}.weight": weights[f"{name}.pe"] for axis, name in halves.items()}
    for axis, name in halves.items():
        state |= {f"{axis}.{key}": weights[f"{name}.gcc_conv.{key}"] for key in ("weight", "bias")}
    conv.load_state_dict(state)
    return conv


def norm(weights: dict[str, Tensor], name: str) -> nn.Module:
    norm_weights = {
        key.removeprefix(f"{name}."): tensor for key, tensor in weights.items() if key.startswith(f"{name}.")
    }
    made = nn.BatchNorm2d(len(norm_weights["weight"]))
    made.load_state_dict(norm_weights)
    return made.eval()


def convnext_block(x: Tensor) -> Tensor:
    """ConvNeXt's block with the operator, a half of the channels along each axis, in place of the 7x7."""
    weights = weights_of("parc_convnext_block", gain=1.0)
    out = parc_conv(weights, prefix="gcc")(x).permute(0, 2, 3, 1)
    out = F.layer_norm(out, (8,), weights["norm.weight"], weights["norm.bias"], eps=1e-6)
    out = F.gelu(F.linear(out, weights["pwconv1.weight"], weights["pwconv1.bias"]))
    out = F.linear(out, weights["pwconv2.weight"], weights["pwconv2.bias"]) * weights["gamma"]
    return x + out.permute(0, 3, 1, 2)


def bottleneck(x: Tensor) -> Tensor:
    """ResNet's bottleneck with the dense operator, a half of the channels along each axis, in place of the 3x3."""
    weights = weights_of("parc_bottleneck", gain=1.0)
    out = norm(weights, "bn1")(F.conv2d(x, weights["conv1.weight"])).relu()
    out = norm(weights, "bn2")(parc_conv(weights, prefix="parc")(out)).relu()
    return (x + norm(weights, "bn3")(F.conv2d(out, weights["conv3.weight"]))).relu()


def cropped_block(x: Tensor) -> Tensor:
    # With the official option "crop" a smaller map takes the first taps and positions instead of interpolated ones.
    # We do not offer it: the crop is done before loading, and the block is native at the map's size.
    length = x.shape[2]
    weights = weights_of("gcc_ca_crop", gain=1.2)
    cropped = {key: w[:, :, :length, :length] if key.startswith("meta_") else w for key, w in weights.items()}
    return parc_block(cropped, length=length)(x)


def interpolating_block(module: str, x: Tensor) -> Tensor:
    return parc_block(weights_of(module, gain=1.2))(x)


def operator(module: str, axis: Axis, x: Tensor) -> Tensor:
    return circular(weights_of(module, gain=1.0), axis=axis)(x)


OURS = {
    "gcc_ca_pe": functools.partial(interpolating_block, "gcc_ca_pe"),
    "gcc_ca_nope": functools.partial(interpolating_block, "gcc_ca_nope"),
    "gcc_pe": functools.partial(interpolating_block, "gcc_pe"),
    "gcc_ca_crop": cropped_block,
    "parc_op_H": functools.partial(operator, "parc_op_H", "height"),
    "parc_op_W": functools.partial(operator, "parc_op_W", "width"),
    "parc_op_W_nope": functools.partial(operator, "parc_op_W_nope", "width"),
    "parc_op_dense_H": functools.partial(operator, "parc_op_dense_H", "height"),
    "parc_convnext_block": convnext_block,
    "parc_bottleneck": bottleneck,
}


@pytest.mark.parametrize("case", modules().arrays)
@torch.no_grad()
def test_outputs_are_the_official_ones(case):
    facts = modules().meta["arrays"][case]
    out = OURS[case.split("__")[0]](official_input(facts["input_tag"], facts["input_shape"]))
    modules().assert_equal(case, out)


@torch.no_grad()
def test_the_tolerance_sees_one_reversed_kernel():
    case = "gcc_ca_pe__2x32x8x8"
    facts = modules().meta["arrays"][case]
    weights = weights_of("gcc_ca_pe", gain=1.2)
    weights["meta_kernel_2_W"] = weights["meta_kernel_2_W"].flip(3)
    out = parc_block(weights)(official_input(facts["input_tag"], facts["input_shape"]))
    with pytest.raises(AssertionError):
        modules().assert_equal(case, out)
