"""The ParC block: position-aware circular convolutions in place of token mixing, then a gated feed-forward net.

Source: Zhang et al., "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer",
ECCV 2022, sections 3.1 and 3.2. Where the paper and the outputs of the official models differ, the outputs count.
"""

import torch
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn

from parckit.layers.along_axis import Axis
from parckit.layers.circular import CircularConv2d, PositionEmbedding

_OTHER: dict[Axis, Axis] = {"height": "width", "width": "height"}


class ParCBranch(nn.Module):
    """A residual pair of circular convolutions: along one axis, then along the other (ParC-Net, section 3.2).

    It computes x + conv2(pe2(conv1(norm(pe1(x))))). As in the official models, the skip starts before the first
    embedding, and there is no norm in front of the second embedding.

    Args:
        dim: channels.
        length: taps and positions learned per axis.
        axis: the axis of the first convolution.
        with_pe: whether position embeddings are added; only the first block of a stage has them.
        drop_path_rate: probability of dropping the branch of a sample.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis, with_pe: bool, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        first, second = axis, _OTHER[axis]
        self.pe1 = PositionEmbedding(dim, length, axis=first) if with_pe else nn.Identity()
        self.norm = nn.BatchNorm2d(dim)
        self.conv1 = CircularConv2d(dim, length, axis=first)
        self.pe2 = PositionEmbedding(dim, length, axis=second) if with_pe else nn.Identity()
        self.conv2 = CircularConv2d(dim, length, axis=second)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over the whole map."""
        return x + self.drop_path(self.conv2(self.pe2(self.conv1(self.norm(self.pe1(x))))))


class ChannelGate(nn.Module):
    """Scale each channel by a gate computed from the map's mean (ParC-Net, section 3.2, "channel wise attention").

    Mean -> 1x1 -> BatchNorm -> Hardswish -> 1x1 -> BatchNorm -> Hardsigmoid.

    Args:
        dim: channels.
        reduction: the gate's hidden width is `dim // reduction`, at least 1; 16 is the official value.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, dim // reduction)
        self.conv1 = nn.Conv2d(dim, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.act = nn.Hardswish()
        self.conv2 = nn.Conv2d(hidden, dim, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Multiply `x` by the gate computed from it."""
        hidden = self.act(self.norm1(self.conv1(x.mean((2, 3), keepdim=True))))
        return x * self.gate(self.norm2(self.conv2(hidden)))


class FeedForward(nn.Module):
    """BatchNorm -> 1x1 -> Hardswish -> 1x1 -> dropout: the channel mixing of a ParC block (ParC-Net, section 3.2).

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, hidden_dim: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, hidden_dim, 1)
        self.act = nn.Hardswish()
        self.conv2 = nn.Conv2d(hidden_dim, dim, 1)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix channels position by position."""
        return self.drop(self.conv2(self.act(self.conv1(self.norm(x)))))


class ParCBlock(nn.Module):
    """The plug-and-play ParC block (ParC-Net, section 3.2, figure 3).

    One half of the channels is convolved along the height, then the width; the other half along the width, then the
    height. A feed-forward net with a skip follows; a channel gate scales its output.

    Args:
        dim: channels, even.
        length: taps and positions learned per axis.
        hidden_dim: width of the feed-forward net.
        with_pe: whether position embeddings are added.
        with_gate: whether the channel gate scales the feed-forward output.
        drop_rate: dropout at the end of the feed-forward net.
        drop_path_rate: probability of dropping each residual branch of a sample.

    Raises:
        ValueError: if `dim` is odd.

    Shape:
        (B, C, H, W) -> (B, C, H, W), any H and W
    """

    def __init__(
        self,
        dim: int,
        length: int,
        *,
        hidden_dim: int,
        with_pe: bool,
        with_gate: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim={dim}: must be even, because each half of the channels takes one order of axes")
        self.height_first = ParCBranch(dim // 2, length, axis="height", with_pe=with_pe, drop_path_rate=drop_path_rate)
        self.width_first = ParCBranch(dim // 2, length, axis="width", with_pe=with_pe, drop_path_rate=drop_path_rate)
        self.ffn = FeedForward(dim, hidden_dim, drop_rate=drop_rate)
        self.gate = ChannelGate(dim) if with_gate else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions, then channels."""
        a, b = x.chunk(2, dim=1)
        x = torch.cat((self.height_first(a), self.width_first(b)), dim=1)
        return x + self.drop_path(self.gate(self.ffn(x)))
