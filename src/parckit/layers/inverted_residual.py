"""MobileNetV2's inverted residual, as the ParC-Net family uses it."""

from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.conv_norm import ConvNormSiLU


class InvertedResidual(nn.Module):
    """1x1 expansion by 4, depthwise 3x3, 1x1 without activation (arXiv:1801.04381, section 3.3). Activations are SiLU.

    It has a skip if input and output have the same shape.

    Shape:
        (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, in_chs: int, out_chs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        hidden = 4 * in_chs
        self.has_skip = stride == 1 and in_chs == out_chs
        self.expand = ConvNormSiLU(in_chs, hidden, 1)
        self.depthwise = ConvNormSiLU(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden)
        self.project = ConvNormSiLU(hidden, out_chs, 1, apply_act=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Transform the map."""
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_skip else out
