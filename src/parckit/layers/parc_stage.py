"""A stage of ParC-Net: a local convolution, global ParC blocks, and fusion with the input."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.conv_norm import ConvNormSiLU
from parckit.layers.parc import ParCBlock

Fusion = Literal["add", "concat"]


class ParCStage(nn.Module):
    """Local 3x3, global ParC blocks and fusion with the stage's input (ParC-Net, section 3.3, figure 2).

    Args:
        dim: channels in and out.
        inner_dim: channels of the ParC blocks.
        hidden_dim: hidden width of the feed-forward nets in the ParC blocks.
        length: number of taps and positions learned per axis.
        fusion: `"concat"` concatenates the global result and the stage's input; `"add"` (ParC-Net-XS) adds them.
        drop_rate: dropout at the end of the feed-forward nets.
        drop_path_rates: one probability per ParC block; its length sets the number of blocks.

    Raises:
        ValueError: if `fusion` is unknown.

    Shape:
        (B, dim, H, W) -> (B, dim, H, W)
    """

    def __init__(
        self,
        dim: int,
        *,
        inner_dim: int,
        hidden_dim: int,
        length: int,
        fusion: Fusion,
        drop_rate: float,
        drop_path_rates: Sequence[float],
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion={fusion!r}: choose from {get_args(Fusion)}")
        # As many groups as input and output channels allow.
        groups = math.gcd(dim, inner_dim)
        self.fusion: Fusion = fusion
        self.local = ConvNormSiLU(dim, inner_dim, 3, groups=groups)
        self.embed = nn.Conv2d(inner_dim, inner_dim, 1, bias=False)
        # Only the first block has position embeddings.
        self.blocks = nn.Sequential(
            *(
                ParCBlock(
                    inner_dim, length, hidden_dim=hidden_dim, with_pe=i == 0, drop_rate=drop_rate, drop_path_rate=rate
                )
                for i, rate in enumerate(drop_path_rates)
            )
        )
        self.norm = nn.BatchNorm2d(inner_dim)
        self.project = ConvNormSiLU(inner_dim, dim, 1, groups=groups)
        self.fusion_conv = ConvNormSiLU(dim if fusion == "add" else 2 * dim, dim, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add global information to the map."""
        mixed = self.project(self.norm(self.blocks(self.embed(self.local(x)))))
        return self.fusion_conv(mixed + x if self.fusion == "add" else torch.cat((mixed, x), dim=1))
