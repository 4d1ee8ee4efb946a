"""Mixed precision on CPUs, except for the one operation that it makes slower."""

from typing import final

import torch
from torch import Tensor, nn


@final
class _UncastConv2d(nn.Conv2d):
    """A convolution that ignores autocast on CPUs: it computes in its weights' type and returns its input's type."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def keep_strided_depthwise_float32(model: nn.Module) -> None:
    """Let strided depthwise convolutions compute in float32 under autocast too; parameters and keys stay the same.

    On CPUs, their gradient takes 6 to 30 times as long in bfloat16 as in float32 (oneDNN). So a whole training step of
    ParC-Net-XS was slower in bfloat16 than in float32.
    """
    for name, conv in list(model.named_modules()):
        # Not subclasses: they may pad or scale in their forward, as timm's Conv2dSame does.
        if type(conv) is nn.Conv2d and max(conv.stride) > 1 and conv.groups == conv.in_channels > 1:
            replacement = _UncastConv2d(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # pyright: ignore[reportArgumentType] - torch types pairs as tuples of any length
                stride=conv.stride,  # pyright: ignore[reportArgumentType]
                padding=conv.padding,  # pyright: ignore[reportArgumentType]
                dilation=conv.dilation,  # pyright: ignore[reportArgumentType]
                groups=conv.groups,
                bias=conv.bias is not None,
                padding_mode=conv.padding_mode,
                device="meta",
            )
            replacement.weight, replacement.bias = conv.weight, conv.bias
            model.set_submodule(name, replacement.train(conv.training))
