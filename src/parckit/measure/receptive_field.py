"""Effective receptive field: how strongly each pixel moves the centre of the last map.

W. Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (NeurIPS 2016,
arXiv:1701.04128): the gradient of the centre with respect to the image, averaged over images. As in RepLKNet (X. Ding
et al., CVPR 2022, arXiv:2203.06717) the centre is summed over its channels, and the reach is told by the square that
holds a given share of all contributions. Other than there, negative gradients count like positive ones, shares are of
the contributions themselves and not of their logarithm, and the square may lie anywhere: with padded strided
convolutions the centre of the map does not lie over the centre of the image.
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
"""Images (B, C, H, W) to maps (B, D, H2, W2), each image by itself."""

_DEAD = 1e-2
"""A scale below this makes its branch vanish: ConvNeXt's begin at 1e-6, the last norms of timm's ResNets at 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceptiveField:
    """What was seen of an image by the centre of the last map.

    Attributes:
        contribution: (H, W), each pixel's share of all contributions; sums to 1.
        images: how many images it is the mean of.
    """

    contribution: NDArray[np.float64]
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A rectangle of pixels: a square, cut where the image is less high or wide.

    Attributes:
        top: first row.
        left: first column.
        height: rows.
        width: columns.
        share: of all contributions that it was asked to hold.
        area: share of the image's pixels.
    """

    top: int
    left: int
    height: int
    width: int
    share: float
    area: float


def receptive_field(features: Features, batches: Iterable[Tensor]) -> ReceptiveField:
    """Average the absolute gradient of the map's centre, summed over its channels, over all images.

    Of an even number of rows or columns the one behind the middle is taken.

    Shape:
        batches: (B, C, H, W) each, all of one size

    Raises:
        ValueError: if there is no image.
        InputError: if the centre does not depend on the image, or not by finite numbers.
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
    # Sums over everything above and to the left: four of them give the sum over any rectangle.
    sums = np.pad(contribution.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    needed = share * sums[-1, -1]

    def held(side: int) -> NDArray[np.float64]:
        """Return what each square of that side holds, by its first row and column."""
        rows, columns = min(side, height), min(side, width)
        return sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]

    sides = range(1, max(height, width) + 1)
    side = sides[bisect_left(sides, needed, key=lambda side: float(held(side).max()))]
    top, left = np.unravel_index(held(side).argmax(), held(side).shape)
    rows, columns = min(side, height), min(side, width)
    area = rows * columns / contribution.size
    return Window(top=int(top), left=int(left), height=rows, width=columns, share=share, area=area)


def last_map(model: nn.Module) -> Features:
    """Return the part of a timm model that ends with its last map, before the final norm and pooling.

    A norm over the channels would leave nothing to see: it makes their sum the same for every image.

    Raises:
        InputError: if the model cannot give its maps.
    """
    # timm's own models have it with few exceptions; other modules do not.
    intermediates = cast("Callable[..., list[Tensor]] | None", getattr(model, "forward_intermediates", None))
    if intermediates is None:
        raise InputError(f"{type(model).__name__} cannot give its maps: it has no forward_intermediates")
    return lambda images: intermediates(images, indices=1, intermediates_only=True)[0]


def recalibrate_norms(model: nn.Module, images: Tensor) -> None:
    """Make a fresh model behave as when its training has just begun: every branch counts, and norms know their input.

    Per-channel scales that begin at nothing become 1: until training has raised them, the branches behind them, and
    with them their kernels, are as good as absent. Batch norms take the statistics of `images`.

    Shape:
        images: (B, C, H, W), two or more
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            per_channel = parameter.numel() == max(parameter.shape, default=0)
            if per_channel and re.search(r"(weight|gamma|scale)\w*$", name) and parameter.abs().max() < _DEAD:
                parameter.fill_(1.0)
    update_bn([images], model)
