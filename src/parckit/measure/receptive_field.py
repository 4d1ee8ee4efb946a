"""Effective receptive field: how strongly every pixel changes the centre of the last feature map.

W. Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (NeurIPS 2016,
arXiv:1701.04128) take the gradient of the centre with respect to the image and average it over images. As in RepLKNet
(X. Ding et al., CVPR 2022, arXiv:2203.06717), the centre is summed over its channels, and the size of the field is the
smallest square that holds a certain share of all contributions. There are three differences from RepLKNet:

- Negative gradients count like positive ones.
- The share is a share of the contributions, not of their logarithms.
- The square may be anywhere. With padded strided convolutions, the centre of the map is not above the centre of the
  image.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from parckit.contract import InputError

Features = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) to feature maps (B, D, H2, W2). The map of an image must not depend on other images."""

_DEAD = 1e-2
"""A branch with a scale below this has almost no effect. ConvNeXt's scales start at 1e-6, and the scales of the last
norms in timm's ResNet blocks start at 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceptiveField:
    """How much every pixel contributes to the centre of the last feature map.

    Attributes:
        contribution: (H, W), the share of every pixel in all contributions; the sum is 1.
        images: number of images that it is the mean of.
    """

    contribution: NDArray[np.float64]
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A rectangle of pixels. It is a square unless the image is too low or too narrow for the square.

    Attributes:
        top: first row.
        left: first column.
        height: number of rows.
        width: number of columns.
        share: share of all contributions that the rectangle must hold.
        area: area of the rectangle, as a share of the image's.
    """

    top: int
    left: int
    height: int
    width: int
    share: float
    area: float


def receptive_field(features: Features, batches: Iterable[Tensor]) -> ReceptiveField:
    """Compute the absolute gradient of the map's centre with respect to the image, averaged over all images.

    The centre is summed over its channels. If the number of rows or columns is even, the centre is the one after the
    middle.

    Shape:
        batches: (B, C, H, W) per batch, all of one size

    Raises:
        ValueError: if there is no image.
        InputError: if the centre does not depend on the image, or a gradient is not finite.
    """
    total, images = torch.zeros(1, 1, dtype=torch.float64), 0
    for batch in batches:
        pixels = batch.detach().requires_grad_()
        maps = features(pixels)
        centre = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
        (gradient,) = torch.autograd.grad(centre.sum(), pixels)
        total = total + gradient.abs().sum(dim=(0, 1), dtype=torch.float64)
        images += len(batch)
    if not images:
        raise ValueError("batches is empty; at least one image is needed")
    weight = float(total.sum())
    if not 0 < weight < float("inf"):
        raise InputError(f"the centre of the last map has no receptive field: its gradients add up to {weight}")
    return ReceptiveField(contribution=(total / weight).numpy(), images=images)


def smallest_window(contribution: NDArray[np.float64], *, share: float) -> Window:
    """Find the smallest square, anywhere in the image, that holds at least `share` of all contributions.

    Shape:
        contribution: (H, W)

    Raises:
        ValueError: if `share` does not lie in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share}: must lie in (0, 1]")
    height, width = contribution.shape
    # sums[i, j] is the sum over all pixels above row i and left of column j. Four such sums give that of a rectangle.
    sums = np.pad(contribution.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    needed = share * sums[-1, -1]

    def inside(side: int) -> NDArray[np.float64]:
        """Return the sum inside every square of that side, indexed by the square's first row and column."""
        rows, columns = min(side, height), min(side, width)
        return sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]

    sides = range(1, max(height, width) + 1)
    side = sides[bisect_left(sides, needed, key=lambda side: float(inside(side).max()))]
    top, left = np.unravel_index(inside(side).argmax(), inside(side).shape)
    rows, columns = min(side, height), min(side, width)
    area = rows * columns / contribution.size
    return Window(top=int(top), left=int(left), height=rows, width=columns, share=share, area=area)


def last_map(model: nn.Module) -> Features:
    """Return a function that runs a timm model up to its last feature map, before the final norm and pooling.

    The final norm must be left out. A norm over the channels makes their sum the same for all images, so its gradient
    is zero.

    Raises:
        InputError: if the model cannot return its feature maps.
    """
    # Almost all models of timm have this method; other modules do not.
    intermediates = cast("Callable[..., list[Tensor]] | None", getattr(model, "forward_intermediates", None))
    if intermediates is None:
        raise InputError(f"{type(model).__name__} cannot give its maps: it has no forward_intermediates")
    return lambda images: intermediates(images, indices=1, intermediates_only=True)[0]


def recalibrate_norms(model: nn.Module, images: Tensor) -> None:
    """Prepare an untrained model for measuring: every branch has an effect, and batch norms fit their inputs.

    Some per-channel scales start at almost zero, so the kernels of their branch have no effect before training. These
    scales are set to 1. Batch norms take the statistics of `images`.

    Shape:
        images: (B, C, H, W), two or more
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            per_channel = parameter.numel() == max(parameter.shape, default=0)
            if per_channel and re.search(r"(weight|gamma|scale)\w*$", name) and parameter.abs().max() < _DEAD:
                parameter.fill_(1.0)
    update_bn([images], model)
