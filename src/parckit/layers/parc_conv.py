"""ParC in place of a convolution in another network: each half of the channels is convolved along one axis."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.along_axis import Axis
from parckit.layers.circular import CircularConv2d, PositionEmbedding


@final
class ParCConv2d(nn.Module):
    """Position-aware circular convolution that replaces a spatial one in ConvNeXt, ResNet and others (ParC-Net, 3.1).

    The first half of the channels is convolved along the height, the second along the width; both have a bias, as in
    the official hybrids. Kernels and embeddings are interpolated to the size of the map.

    Args:
        dim: channels; every group gets equally many.
        length: number of taps and positions learned along the height and along the width.
        groups: groups in each half, or (groups along the height, groups along the width) if their sum is odd. The
            default is depthwise; 1 is dense within each half (ParC-ResNet50).
        with_pe: whether position embeddings are added to the map first.

    Raises:
        ValueError: if the groups of both halves do not divide `dim`, for example if `dim` is odd and both halves have
            equally many groups.

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
        groups = dim // 2 if groups is None else groups
        down, across = groups if isinstance(groups, tuple) else (groups, groups)
        if min(down, across) < 1 or dim % (down + across):
            raise ValueError(f"dim={dim}: must be a multiple of the groups of both halves, {down} + {across}")
        per_group = dim // (down + across)
        height_dim, width_dim = per_group * down, per_group * across
        self.pe_height = _embedding(height_dim, length[0], axis="height") if with_pe else nn.Identity()
        self.height = CircularConv2d(height_dim, length[0], axis="height", groups=down, bias=True)
        self.pe_width = _embedding(width_dim, length[1], axis="width") if with_pe else nn.Identity()
        self.width = CircularConv2d(width_dim, length[1], axis="width", groups=across, bias=True)

    def reset_parameters(self) -> None:
        """Draw the embeddings anew; the convolutions draw their kernels themselves."""
        for embedding in (self.pe_height, self.pe_width):
            if isinstance(embedding, PositionEmbedding):
                _reset_embedding(embedding)

    @property
    def halves(self) -> tuple[int, int]:
        """Numbers of channels that are convolved along the height and along the width."""
        return self.height.weight.shape[0], self.width.weight.shape[0]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over whole columns in one half of the channels, over whole rows in the other."""
        a, b = x.split(self.halves, dim=1)
        return torch.cat((self.height(self.pe_height(a)), self.width(self.pe_width(b))), dim=1)


def _embedding(dim: int, length: int, *, axis: Axis) -> PositionEmbedding:
    embedding = PositionEmbedding(dim, length, axis=axis)
    _reset_embedding(embedding)
    return embedding


def _reset_embedding(embedding: PositionEmbedding) -> None:
    # The official hybrids start from std 0.02, ParC-Net from 1. The networks around were designed without embeddings.
    nn.init.trunc_normal_(embedding.weight, std=0.02)
