"""A fake quantizer: it rounds numbers as the INT8 artefact will, and lets gradients through.

The scale is learned, as in S. Esser et al., "Learned step size quantization" (arXiv:1902.08153), section 2. Two things
are simpler here. The logarithm of the scale is the parameter: a step of an optimizer changes it by a factor, so one
learning rate suits small and large scales, and no scale becomes negative. And the gradient of the scale is not
multiplied by a constant, because a logarithm needs none.

CPUs without VNNI add the products of two neighbouring input channels in 16 bits, where the sum of two weights of 8 bits
can be too large. So scales of such weights have a lower limit, which follows from the weights: the limit that
`parckit.deploy.quantize.saturation` explains. A scale that is below it gets no gradient.
"""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEAST_SCALE = 1e-8
"""Scale of a tensor of zeros."""
_UNSATURATED_BITS, _MOST_OF_A_PAIR = 7, 127
"""Weights of more bits than these can saturate, unless the sum of each pair stays within this many steps."""
_SHRINKS = torch.arange(1, 21, dtype=torch.float64) / 20
"""Shares of the largest weight of a channel that `measure_weights` tries as the largest one that is not cut off."""


@final
class FakeQuantizer(nn.Module):
    """Rounds x to (q - zero_point) * scale, where q is the nearest whole number from `lowest` to `highest`.

    Args:
        bits: of the whole numbers.
        channels: number of scales, one for each index of the first dimension; the numbers are then symmetric around
            zero, as weights are. None: one scale, and whole numbers from 0, as activations have.

    Attributes:
        bits: as given.
        lowest: the lowest whole number.
        highest: the highest whole number.
        log_scale: logarithm of the scale, the learned parameter.
        zero_point: the whole number that means zero. It is stored as a real number: averages of weights round others.

    Shape:
        any -> the same
    """

    zero_point: Tensor

    def __init__(self, bits: int, *, channels: int | None = None) -> None:
        super().__init__()
        self.bits = bits
        self.highest = 2**bits - 1 if channels is None else 2 ** (bits - 1) - 1
        self.lowest = 0 if channels is None else -self.highest
        self.log_scale = nn.Parameter(torch.zeros(() if channels is None else channels))
        self.register_buffer("zero_point", torch.zeros(()))
        self._ends: list[tuple[float, float]] | None = None

    @property
    def scale(self) -> Tensor:
        """The learned scale: () or (C,). Weights are rounded with `scale_of`."""
        return self.log_scale.exp()

    def scale_of(self, weight: Tensor) -> Tensor:
        """Return the scales that weights are rounded with: the learned ones, or larger ones that do not saturate."""
        if self.bits <= _UNSATURATED_BITS:
            return self.scale
        return torch.maximum(self.scale, largest_pair(weight.detach()) / _MOST_OF_A_PAIR)

    def forward(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Round; between `begin_measuring` and `end_measuring`, only note the ends of x and return x itself."""
        if self._ends is not None:
            self._ends.append((float(x.detach().min()), float(x.detach().max())))
            return x
        scale = self.scale if self.log_scale.ndim == 0 else self.scale_of(x).view(-1, *[1] * (x.ndim - 1))
        # Half precision cannot hold 256 levels exactly.
        return cast("Tensor", _Round.apply(x.float() if x.dtype.itemsize < 4 else x, scale, self)).to(x.dtype)

    def begin_measuring(self) -> None:
        """Let the next calls note the ends of their tensors."""
        self._ends = []

    @torch.no_grad()
    def end_measuring(self) -> None:
        """Set scale and zero point so that the mean of the noted ends, and zero itself, can be represented."""
        ends, self._ends = self._ends or [(0.0, 0.0)], None
        low = min(0.0, sum(low for low, _ in ends) / len(ends))
        high = max(0.0, sum(high for _, high in ends) / len(ends))
        scale = max((high - low) / self.highest, _LEAST_SCALE)
        self.zero_point.fill_(round(-low / scale))
        self.log_scale.copy_(torch.tensor(scale, dtype=torch.float64).log())

    @torch.no_grad()
    def measure_weights(self, weight: Tensor) -> None:
        """Set every channel's scale to the one with the least squared error; see `_SHRINKS`."""
        rows = weight.detach().double().flatten(1)
        largest = rows.abs().amax(1).clamp(min=_LEAST_SCALE)
        best, least = largest / self.highest, torch.full_like(largest, torch.inf)
        for share in _SHRINKS.tolist():
            scale = (largest * share / self.highest).unsqueeze(1)
            rounded = (rows / scale).round().clamp(self.lowest, self.highest) * scale
            error = (rounded - rows).square().sum(1)
            # Of equal errors the larger scale is better: it cuts off less.
            best = torch.where(error <= least, scale.squeeze(1), best)
            least = torch.minimum(error, least)
        self.log_scale.copy_(best.log())

    def extra_repr(self) -> str:
        """Show the settings of this instance when the model is printed."""
        return f"bits={self.bits}, from {self.lowest} to {self.highest}"


def largest_pair(weight: Float[Tensor, "c i *any"]) -> Float[Tensor, " c"]:
    """Return the largest sum of the weights of two neighbouring input channels, for every output channel.

    Args:
        weight: (out, in of a group, height, width) of a convolution, or (out, in).
    """
    taps = weight.movedim(1, -1)
    if taps.shape[-1] == 1:
        return weight.new_zeros(len(weight))
    # With an odd number of channels, ONNX Runtime pairs the numbers of all taps, one after another.
    orders = [taps] if taps.shape[-1] % 2 == 0 else [taps, taps.flatten(1)]
    pairs = [order[..., : order.shape[-1] // 2 * 2].unflatten(-1, (-1, 2)).sum(-1) for order in orders]
    return torch.stack([sums.abs().flatten(1).amax(1) for sums in pairs]).amax(0)


class _Round(torch.autograd.Function):
    """Rounding with the gradients of a straight-through estimator (Esser et al., equations 3 and 5).

    With r = x / scale and q the whole number before it is cut off at the lowest and highest one:

    * d out / d x = 1 where q is not cut off, else 0;
    * d out / d scale = round(r) - r where q is not cut off, else (lowest or highest) - zero_point.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, quantizer: FakeQuantizer) -> Tensor:  # noqa: ANN401 - torch's type
        ctx.quantizer, zero = quantizer, quantizer.zero_point.to(x.dtype)
        ctx.save_for_backward(x, scale)
        levels = (x / scale).round_().add_(zero)
        return levels.clamp_(quantizer.lowest, quantizer.highest).sub_(zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401 - torch's type
        (grad,), (x, scale), quantizer = grads, ctx.saved_tensors, ctx.quantizer
        zero = quantizer.zero_point.to(x.dtype)
        ratio = x / scale
        levels = ratio.round().add_(zero)
        cut = levels.clamp(quantizer.lowest, quantizer.highest)
        inside = cut == levels
        of_scale = cut.sub_(zero).sub_(ratio.mul_(inside)).mul_(grad)
        return grad * inside, of_scale.sum_to_size(scale.shape), None
