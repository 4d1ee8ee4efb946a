"""The EdgeViT block: convolutions mix nearby positions, then attention among sampled tokens mixes the whole map.

Source: Pan et al., "EdgeViTs: Competing Light-weight CNNs on Mobile Devices with Vision Transformers", ECCV 2022,
arXiv:2205.03436, section 3. The paper does not state three epsilons, that the local mixing has no activation, and which
token of a window is sampled. There we follow the outputs of the official models.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import DropPath, LayerNorm2d, Mlp, use_fused_attn
from torch import Tensor, nn

from parckit.layers.padding import pad_to_multiple
from parckit.layers.parc_conv import ParCConv2d
from parckit.layers.tracing import is_open, is_transformed

torch.fx.wrap("pad_to_multiple")

_MLP_RATIO = 4
"""Hidden width of both feed-forward nets, as a multiple of the channels; the same in every official variant."""

_PRE_NORM_EPS = 1e-6
"""The official epsilon of the two LayerNorms in front of a branch."""

_NORM_EPS = 1e-5
"""The official epsilon of the LayerNorms after the patch embedding and after the propagation."""


class PatchEmbedding(nn.Module):
    """Turn every patch into a normalised token, by a convolution whose windows do not overlap (EdgeViT, section 3).

    Incomplete patches at the right and at the bottom are padded with zeros.

    Args:
        in_dim: channels of the map.
        dim: channels of a token.
        size: side of a patch, positions.

    Shape:
        (B, C, H, W) -> (B, dim, ceil(H / size), ceil(W / size))
    """

    def __init__(self, in_dim: int, dim: int, *, size: int) -> None:
        super().__init__()
        self.size = size
        self.proj = nn.Conv2d(in_dim, dim, size, stride=size)
        self.norm = LayerNorm2d(dim, eps=_NORM_EPS)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Project each patch."""
        return self.norm(self.proj(pad_to_multiple(x, self.size)))


class LocalPropagation(nn.Module):
    """Spread the sampled token of every window (its delegate) over the window, then normalise.

    It is a transposed convolution whose windows do not overlap (EdgeViT, section 3, "local propagation").

    Args:
        dim: channels.
        ratio: side of a window, positions.

    Shape:
        (B, H, W, C) -> (B, H * ratio, W * ratio, C)
    """

    def __init__(self, dim: int, *, ratio: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(dim, dim, ratio, stride=ratio, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=_NORM_EPS)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c"]:
        """Scale the delegate differently for every position of its window."""
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class SparseAttention(nn.Module):
    """Attention among the first positions of all windows (the delegates); the results are spread over the windows.

    EdgeViT, section 3, "global sparse attention". If a side is not a multiple of `ratio`, the last windows are smaller.

    Args:
        dim: channels.
        num_heads: number of heads; it must divide `dim`.
        ratio: side of a window, positions; at 1 every position attends and nothing is spread.

    Shape:
        (B, H, W, C) -> (B, H, W, C), any H and W
    """

    def __init__(self, dim: int, *, num_heads: int, ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ratio = ratio
        # timm's switch, see `timm.layers.set_fused_attn`.
        self.fused_attn = use_fused_attn()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.propagate = LocalPropagation(dim, ratio=ratio) if ratio > 1 else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Sample, attend, spread, project."""
        height, width = x.shape[1:3]
        delegates = x[:, :: self.ratio, :: self.ratio]
        b, h, w, c = delegates.shape
        qkv = self.qkv(delegates).reshape(b, h * w, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self._attend(q, k, v).transpose(1, 2).reshape(b, h, w, c)
        out = self.propagate(mixed)
        if is_open(height, width):
            # Padding by a negative number of positions copies. After a plain cut, the program would ask whether the cut
            # removed anything.
            return self.proj(F.pad(out, (0, 0, 0, width - out.shape[2], 0, height - out.shape[1])))
        return self.proj(out[:, :height, :width])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # The fused operator has no forward-mode derivatives on a CPU, and torch's classic ONNX exporter, which traces,
        # does not know it below opset 14.
        classic_export = torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()
        if self.fused_attn and not classic_export and not is_transformed():
            return F.scaled_dot_product_attention(q, k, v)
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


class ParCMixer(nn.Module):
    """Position-aware circular convolution in place of attention: half of the channels along each axis, then projected.

    In one half of the channels, every position sees its whole column, in the other half its whole row. The feed-forward
    net and the next block combine both. No position is sampled, so nothing has to be spread. The projection is the same
    as in attention.

    Args:
        dim: channels, even.
        length: number of taps and positions learned per axis.

    Shape:
        (B, H, W, C) -> (B, H, W, C), any H and W
    """

    def __init__(self, dim: int, *, length: int) -> None:
        super().__init__()
        self.conv = ParCConv2d(dim, (length, length))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Mix along both axes, project."""
        return self.proj(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class LocalMix(nn.Module):
    """Mix nearby positions: 1x1, depthwise 5x5, 1x1, then a feed-forward net (EdgeViT, section 3, "local aggregation").

    A depthwise 3x3 convolution in front encodes positions. The three convolutions have neither a norm nor an activation
    between them.

    Args:
        dim: channels.
        drop_path_rate: probability of dropping each residual branch of a sample.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, *, drop_path_rate: float) -> None:
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.depthwise = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.drop_path1 = DropPath(drop_path_rate)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim, _MLP_RATIO * dim, use_conv=True)
        self.drop_path2 = DropPath(drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix neighbours, then channels."""
        x = x + self.position(x)
        x = x + self.drop_path1(self.conv2(self.depthwise(self.conv1(self.norm1(x)))))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class GlobalMix(nn.Module):
    """Mix the whole map, then a feed-forward net; both have a norm in front and a skip (EdgeViT, section 3).

    Args:
        dim: channels.
        mixer: mixes positions; takes and returns (B, H, W, C).
        drop_path_rate: probability of dropping each residual branch of a sample.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, mixer: nn.Module, *, drop_path_rate: float) -> None:
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=_PRE_NORM_EPS)
        self.mixer = mixer
        self.drop_path1 = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(dim, eps=_PRE_NORM_EPS)
        self.mlp = Mlp(dim, _MLP_RATIO * dim)
        self.drop_path2 = DropPath(drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions, then channels."""
        x = (x + self.position(x)).permute(0, 2, 3, 1)
        x = x + self.drop_path1(self.mixer(self.norm1(x)))
        x = x + self.drop_path2(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


class EdgeViTBlock(nn.Module):
    """Local mixing, then global mixing (EdgeViT, section 3).

    Args:
        dim: channels.
        mixer: mixes positions over the whole map; takes and returns (B, H, W, C).
        with_local: whether local mixing comes first. The last stage has none, because every position attends there.
        drop_path_rate: probability of dropping each residual branch of a sample.

    Shape:
        (B, C, H, W) -> (B, C, H, W), any H and W
    """

    def __init__(self, dim: int, mixer: nn.Module, *, with_local: bool, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.local_mix = LocalMix(dim, drop_path_rate=drop_path_rate) if with_local else nn.Identity()
        self.global_mix = GlobalMix(dim, mixer, drop_path_rate=drop_path_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix nearby positions, then the whole map."""
        return self.global_mix(self.local_mix(x))
