"""ParC as a drop-in for a convolution of another network: one axis for each half of the channels."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.along_axis import Axis
from parckit.layers.circular import CircularConv2d, PositionEmbedding


@final
class ParCConv2d(nn.Module):
    """Position-aware circular convolution that replaces a spatial one in ConvNeXt, ResNet and others (ParC-Net, 3.1).

    The first half of the channels is convolved along the height, the second along the width; both with bias, as in the
    official hybrids. Kernels and embeddings follow the size of the map.

    Args:
        dim: channels; the halves share them as they share the groups.
        length: taps and positions learned along the height and along the width.
        groups: groups in each half, or (along the height, along the width) where these differ because the sum is odd;
            depthwise by default, 1 is dense within each half (ParC-ResNet50).
        with_pe: whether position embeddings are added to the map first.

    Raises:
        ValueError: if the channels cannot be shared so, as an odd `dim` where both halves have the same groups.

    Shape:
        (B, C, H, W) -> (B, C, H, W), any H and W
    """

    def __init__(
        self,
        dim: int,
        length: tuple[int, int],
        *,
        groups: int | tuple[int, int] | None = None,
        with_pe: bool = True,
    ) -> None:
        super().__init__()
        each = dim // 2 if groups is None else groups
        down, across = each if isinstance(each, tuple) else (each, each)
        if min(down, across) < 1 or dim % (down + across):
            raise ValueError(f"dim={dim}: must be a multiple of the groups of both halves, {down} + {across}")
        half, rest = (dim // (down + across) * count for count in (down, across))
        self.pe_height = _embedding(half, length[0], axis="height") if with_pe else nn.Identity()
        self.height = CircularConv2d(half, length[0], axis="height", groups=down, bias=True)
        self.pe_width = _embedding(rest, length[1], axis="width") if with_pe else nn.Identity()
        self.width = CircularConv2d(rest, length[1], axis="width", groups=across, bias=True)

    @property
    def halves(self) -> tuple[int, int]:
        """Channels convolved along the height and along the width."""
        return self.height.weight.shape[0], self.width.weight.shape[0]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over whole columns in one half, over whole rows in the other."""
        a, b = x.split(self.halves, dim=1)
        return torch.cat((self.height(self.pe_height(a)), self.width(self.pe_width(b))), dim=1)


def _embedding(dim: int, length: int, *, axis: Axis) -> PositionEmbedding:
    embedding = PositionEmbedding(dim, length, axis=axis)
    # The official hybrids start from 0.02, unlike ParC-Net itself: the networks around were made without embeddings.
    nn.init.trunc_normal_(embedding.weight, std=0.02)
    return embedding
