"""Split long kernels into sums of shorter ones, because many NPUs limit the size of a kernel.

A convolution with taps w[0] .. w[K - 1] along one axis is out[i] = sum_k w[k] * p[s i + d k], where p is the map with
its zero padding, s the stride and d the dilation. The sum over k can be cut anywhere. For the taps a .. b - 1,

    part[i] = sum_{k = a}^{b - 1} w[k] * p[s i + d k] = sum_{k = 0}^{b - a - 1} w[a + k] * p[(d a) + s i + d k],

so a part is a convolution of a piece of p that begins at d a, with b - a taps and no padding of its own. out is the sum
of the parts. This is exact: the same products are added, in another order. In two dimensions both axes are cut.

Many NPUs limit the dilation, too. A part with one tap has none, so an axis with a larger dilation is cut into its taps.
"""

from collections.abc import Iterator, Sequence
from typing import cast, final

import torch
from torch import Tensor, nn

from parckit.deploy.targets import ConvLimits


def split_kernels(model: nn.Module, *, longest: int | None, limits: ConvLimits | None = None) -> None:
    """Replace every convolution that exceeds a limit by a sum of convolutions that keep it.

    Only plain convolutions that pad with zeros are split. Subclasses may compute something else.

    Args:
        model: the network; it is changed.
        longest: the largest number of taps along an axis; None for any.
        limits: limits of dilation and padding; a larger padding becomes a Pad in front. None for any.
    """
    limits = limits or ConvLimits()
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if not _is_plain(module):
            continue
        conv = cast("nn.Conv2d", module)
        lengths = [
            1 if limits.dilation is not None and dilation > limits.dilation else min(taps, longest or taps)
            for taps, dilation in zip(conv.kernel_size, conv.dilation, strict=True)
        ]
        is_wide = limits.padding is not None and max(cast("tuple[int, int]", conv.padding)) > limits.padding
        if is_wide or tuple(lengths) != tuple(conv.kernel_size):
            model.set_submodule(path, SplitConv2d(conv, longest=_pair(lengths)))


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


@final
class SplitConv2d(nn.Module):
    """A convolution as a sum of convolutions with shorter kernels.

    Args:
        conv: the convolution; it pads with zeros.
        longest: the largest number of taps along the height and along the width.

    Shape:
        as `conv`
    """

    def __init__(self, conv: nn.Conv2d, *, longest: tuple[int, int]) -> None:
        super().__init__()
        down, across = (int(size) for size in conv.padding)
        self.pad = nn.ZeroPad2d((across, across, down, down))
        self._stride = _pair(conv.stride)
        self._dilation = _pair(conv.dilation)
        self._kernel_size = _pair(conv.kernel_size)
        self.parts = nn.ModuleList()
        self._starts: list[tuple[int, int]] = []
        for rows in _ranges(self._kernel_size[0], longest=longest[0]):
            for columns in _ranges(self._kernel_size[1], longest=longest[1]):
                self.parts.append(_part(conv, rows, columns, is_first=not self._starts))
                self._starts.append((rows.start, columns.start))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        padded = self.pad(x)
        total = None
        for part, starts in zip(self.parts, self._starts, strict=True):
            piece, taps = padded, _pair(cast("nn.Conv2d", part).kernel_size)
            for axis, start in enumerate(starts):
                piece = self._cut(piece, taps[axis], start, padded.shape[2 + axis], axis=axis)
            out = part(piece)
            total = out if total is None else total + out
        return cast("Tensor", total)

    def _cut(self, piece: Tensor, taps: int, start: int, length: int, *, axis: int) -> Tensor:
        """Cut what the taps of a part meet along an axis, from a padded map with `length` positions."""
        if taps == self._kernel_size[axis]:
            return piece
        stride, dilation = self._stride[axis], self._dilation[axis]
        outputs = (length - dilation * (self._kernel_size[axis] - 1) - 1) // stride + 1
        return piece.narrow(2 + axis, dilation * start, stride * (outputs - 1) + dilation * (taps - 1) + 1)


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def _ranges(taps: int, *, longest: int) -> Iterator[range]:
    """Cut a number of taps into as few ranges as possible, of almost equal length."""
    count = -(-taps // longest)
    for part in range(count):
        yield range(part * taps // count, (part + 1) * taps // count)


@torch.no_grad()
def _part(conv: nn.Conv2d, rows: range, columns: range, *, is_first: bool) -> nn.Conv2d:
    """Return the convolution with some of the taps. The first part alone adds the bias."""
    distances = _pair(conv.dilation)
    part = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (len(rows), len(columns)),
        stride=_pair(conv.stride),
        # One tap has no distance to another one.
        dilation=(1 if len(rows) == 1 else distances[0], 1 if len(columns) == 1 else distances[1]),
        groups=conv.groups,
        bias=False,
    )
    weight = conv.weight[:, :, rows.start : rows.stop, columns.start : columns.stop]
    part.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if is_first and conv.bias is not None:
        part.bias = nn.Parameter(conv.bias.clone(), requires_grad=False)
    return part
