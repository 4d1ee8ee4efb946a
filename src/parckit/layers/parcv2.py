"""The parts of ParCNetV2: oversized convolutions mix positions, bifurcate gates mix channels, an L2 norm.

Source: Xu et al., "ParCNetV2: Oversized Kernel with Enhanced Attention", ICCV 2023, arXiv:2211.07157, section 3. Where
the paper and the outputs of the official models differ, the outputs count.
"""

import torch
from jaxtyping import Float
from timm.layers import DropPath, LayerScale2d
from torch import Tensor, nn

from parckit.layers.oversized import OversizedConv2d
from parckit.layers.padding import pad_to_multiple

torch.fx.wrap("pad_to_multiple")

_MIN_LENGTH = 1e-6
"""The official value. Vectors of channels that are shorter are not stretched to length 1."""


class CenteredL2Norm2d(nn.Module):
    """Subtract the mean over channels, divide by the Euclidean length of the result, scale each channel.

    The official code calls it a LayerNorm. Unlike a LayerNorm, it has no bias, and its output is smaller by the factor
    sqrt(C): before scaling, the channels of a position form a vector of length 1, not of variance 1.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def reset_parameters(self) -> None:
        """Scale no channel."""
        nn.init.ones_(self.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise each position."""
        x = x - x.mean(1, keepdim=True)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=_MIN_LENGTH)
        return x / length * self.weight.view(-1, 1, 1)


class OversizedMixer(nn.Module):
    """Gated mixing of positions by an oversized and a local convolution (ParCNetV2, sections 3.2 and 3.3).

    (p, q) = 1x1(x); the output is 1x1(p * (oversized(GELU(q)) + local(GELU(q)))). `oversized` runs along the height,
    then along the width; `local` is a depthwise 7x7.

    Args:
        dim: channels.
        length: number of taps of the oversized kernels, odd.
        interpolate: resize the oversized kernels so that they cover every map.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, interpolate: bool = False) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, 2 * dim, 1)
        self.act = nn.GELU()
        self.height = OversizedConv2d(dim, length, axis="height", interpolate=interpolate)
        self.width = OversizedConv2d(dim, length, axis="width", interpolate=interpolate)
        self.local = nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=False)
        self.project = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over the whole map."""
        gate, value = self.expand(x).chunk(2, dim=1)
        value = self.act(value)
        return self.project(gate * (self.width(self.height(value)) + self.local(value)))


class BifurcateGateUnit(nn.Module):
    """Gated mixing of channels: (p, q) = 1x1(x); the output is 1x1(p * GELU(q)) (ParCNetV2, section 3.3).

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # The official width is 5 C for both halves. So the unit has as many parameters as a feed-forward net of width
        # 3.75 C.
        hidden_dim = 5 * dim // 2
        self.expand = nn.Conv2d(dim, 2 * hidden_dim, 1)
        self.act = nn.GELU()
        self.project = nn.Conv2d(hidden_dim, dim, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix channels position by position."""
        gate, value = self.expand(x).chunk(2, dim=1)
        return self.project(gate * self.act(value))


class ParCV2Block(nn.Module):
    """ParCNetV2's block: a mixer of positions, then of channels; both have a norm in front and a skip (section 3.4).

    Args:
        dim: channels.
        length: number of taps of the oversized kernels, odd.
        interpolate: resize the oversized kernels so that they cover every map.
        scale_skips: learn a factor per channel on each skip, as the last two stages of the official models do.
        drop_path_rate: probability of dropping each residual branch of a sample.

    Shape:
        (B, C, H, W) -> (B, C, H, W), any H and W
    """

    def __init__(
        self,
        dim: int,
        length: int,
        *,
        interpolate: bool = False,
        scale_skips: bool = False,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.skip1 = LayerScale2d(dim, init_values=1.0) if scale_skips else nn.Identity()
        self.norm1 = CenteredL2Norm2d(dim)
        self.mixer = OversizedMixer(dim, length, interpolate=interpolate)
        self.skip2 = LayerScale2d(dim, init_values=1.0) if scale_skips else nn.Identity()
        self.norm2 = CenteredL2Norm2d(dim)
        self.gate = BifurcateGateUnit(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions, then channels."""
        x = self.skip1(x) + self.drop_path(self.mixer(self.norm1(x)))
        return self.skip2(x) + self.drop_path(self.gate(self.norm2(x)))


class ParCV2Stem(nn.Module):
    """A 7x7 convolution of stride 4, then the norm.

    If a side is not a multiple of 4, it is padded with zeros at the end, so that every pixel counts and the output has
    ceil(side / 4) positions. The official models drop the last pixels of a side that is 1 or 2 pixels longer than a
    multiple of 4.

    Shape:
        (B, in_chans, H, W) -> (B, dim, ceil(H / 4), ceil(W / 4))
    """

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, dim, 7, stride=4, padding=2)
        self.norm = CenteredL2Norm2d(dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Embed overlapping patches."""
        return self.norm(self.conv(pad_to_multiple(x, 4)))


class ParCV2Downsample(nn.Module):
    """The norm, then a 3x3 convolution that halves the sides, unless `stride` is 1.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, in_chs: int, out_chs: int, *, stride: int = 2) -> None:
        super().__init__()
        self.norm = CenteredL2Norm2d(in_chs)
        self.conv = nn.Conv2d(in_chs, out_chs, 3, stride=stride, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Shrink the map."""
        return self.conv(self.norm(x))
