"""Mixed precision on CPUs, without the one operation that it makes slower."""

from typing import final

import torch
from torch import Tensor, nn


@final
class _UncastConv2d(nn.Conv2d):
    """A convolution that computes in its weights' type whatever a CPU's autocast says, and returns its input's type."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def keep_strided_depthwise_float32(model: nn.Module) -> None:
    """Let strided depthwise convolutions compute in float32 also under autocast; parameters and keys stay.

    On CPUs the bfloat16 gradient of them takes 6 to 30 times the float32 one's time (oneDNN), which made a whole
    training step of ParC-Net-XS slower in bfloat16 than in float32.
    """
    for name, conv in list(model.named_modules()):
        # Subclasses may pad or scale in a forward of their own, as timm's Conv2dSame does.
        if type(conv) is nn.Conv2d and max(conv.stride) > 1 and conv.groups == conv.in_channels > 1:
            spared = _UncastConv2d(
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
            spared.weight, spared.bias = conv.weight, conv.bias
            model.set_submodule(name, spared.train(conv.training))
