"""The loss of SSD (arXiv:1512.02325, sections 2.2 and 2.3): matching, hard negatives, two terms."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert

from parckit.data import Objects
from parckit.processing import BACKGROUND, CENTRE_VARIANCE, SIZE_VARIANCE, PriorSettings

_MATCHED = 0.5
"""Least intersection over union of a prior and an object that the prior is trained on."""
_NEGATIVES = 3
"""Number of priors without an object that count for each prior with one."""
_EPSILON = 1e-5
"""Added to the union when priors are matched, as the official code does; unions are shares of the image."""


class Matches(NamedTuple):
    """What every prior of an image is trained on.

    Attributes:
        labels: class index of the prior's object plus 1; 0 is the background.
        offsets: from the prior to its object; without meaning where the label is 0.

    Shape:
        labels: (P,)
        offsets: (P, 4)
    """

    labels: Tensor
    offsets: Tensor


@final
class SsdLoss:
    """Cross-entropy of the priors with an object and the hardest others, and smooth L1 of the offsets.

    Args:
        priors: the network's priors.
    """

    def __init__(self, priors: PriorSettings) -> None:
        self._priors = priors

    def __call__(
        self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return for every image the sum of its losses, and the number of priors with an object.

        The loss of a batch is the sum of the first divided by the sum of the second.

        Args:
            outputs: class logits and offsets.
            objects: ground truth of every image, boxes in pixels of the input.
            size: (height, width) of the images, pixels.

        Shape:
            outputs: (B, P, classes + 1), (B, P, 4)
            returned: (B,), (B,)
        """
        logits, offsets = (output.float() for output in outputs)
        priors = torch.from_numpy(self._priors.priors(size).copy()).to(logits.device)
        matches = [match(image, priors, size=size) for image in objects]
        labels = torch.stack([one.labels for one in matches])
        targets = torch.stack([one.offsets for one in matches])
        positive = labels > BACKGROUND
        entropy = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        counted = positive | hard_negatives(logits, positive)
        distance = F.smooth_l1_loss(offsets, targets, reduction="none").sum(dim=2)
        # Where a prior is not counted, its loss may be huge or, without an object, without meaning.
        zero = entropy.new_zeros(())
        sums = torch.where(counted, entropy, zero).sum(dim=1) + torch.where(positive, distance, zero).sum(dim=1)
        return sums, positive.sum(dim=1)


def match(objects: Objects, priors: Tensor, *, size: tuple[int, int]) -> Matches:
    """Give priors the objects that they overlap.

    A prior takes the object that it overlaps most, if that is at least half. Besides, every object takes the prior that
    overlaps it most; if two objects want the same prior, the later one gets it. Objects that are marked as crowds do
    not count.

    Args:
        objects: of one image, boxes in pixels.
        priors: (centre x, centre y, width, height) as a share of the image.
        size: (height, width) of the image, pixels.

    Shape:
        priors: (P, 4)
    """
    single = ~objects.crowd
    if not single.any():
        return Matches(torch.zeros(len(priors), dtype=torch.int64, device=priors.device), torch.zeros_like(priors))
    boxes = objects.boxes[single] / objects.boxes.new_tensor([size[1], size[0], size[1], size[0]])
    overlap = _overlap(boxes, box_convert(priors, "cxcywh", "xyxy"))
    # The best object of every prior, then the best prior of every object.
    best, index = overlap.max(dim=0)
    wanted = overlap.argmax(dim=1)
    for number, prior in enumerate(wanted.tolist()):
        index[prior], best[prior] = number, 1.0
    labels = torch.where(best >= _MATCHED, objects.labels[single][index] + 1, BACKGROUND)
    return Matches(labels, encode_offsets(boxes[index], priors))


def _overlap(boxes: Tensor, priors: Tensor) -> Tensor:
    """Return intersection over union, (boxes, priors)."""
    upper_left = torch.maximum(boxes[:, None, :2], priors[None, :, :2])
    lower_right = torch.minimum(boxes[:, None, 2:], priors[None, :, 2:])
    shared = (lower_right - upper_left).clamp(min=0).prod(dim=2)
    areas = [(corners[:, 2:] - corners[:, :2]).prod(dim=1) for corners in (boxes, priors)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared + _EPSILON)


def encode_offsets(boxes: Tensor, priors: Tensor) -> Tensor:
    """Return the offsets from priors to boxes, whose inverse is `parckit.processing.decode_offsets`.

    Args:
        boxes: (left, top, right, bottom) as a share of the image.
        priors: (centre x, centre y, width, height) as a share of the image.

    Shape:
        (N, 4), (N, 4) -> (N, 4)
    """
    centres = box_convert(boxes, "xyxy", "cxcywh")
    moved = (centres[:, :2] - priors[:, :2]) / priors[:, 2:] / CENTRE_VARIANCE
    # A box of no width or height would give minus infinity.
    grown = torch.log(centres[:, 2:].clamp(min=_EPSILON) / priors[:, 2:]) / SIZE_VARIANCE
    return torch.cat([moved, grown], dim=1)


def hard_negatives(logits: Tensor, positive: Tensor) -> Tensor:
    """Return the priors without an object that look most like one: three for every prior with an object, per image.

    Shape:
        logits: (B, P, classes + 1)
        positive: (B, P)
        returned: (B, P)
    """
    loss = -logits.detach().log_softmax(dim=2)[..., BACKGROUND]
    loss = loss.masked_fill(positive, -torch.inf)
    rank = loss.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < _NEGATIVES * positive.sum(dim=1, keepdim=True)) & ~positive
