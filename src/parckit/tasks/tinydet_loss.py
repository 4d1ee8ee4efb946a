"""The loss of the small detector: task-aligned assignment (TOOD, arXiv:2108.07755, section 3.2) and two terms."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from parckit.data import Objects
from parckit.processing import map_points

_CANDIDATES = 13
"""Number of positions that are trained on an object, as in TOOD."""
_SCORE_POWER, _IOU_POWER = 1.0, 6.0
"""How score and overlap make the alignment of a position with an object, as in TOOD: score^1 * IoU^6."""
_FOCUS = 2.0
"""Power of |score - wanted score| that weighs the classes' term, as in TOOD: what is right already counts little."""
_BOX_WEIGHT = 2.0
"""Weight of the boxes' term beside the classes' term, as in TOOD and RTMDet."""


class Assignment(NamedTuple):
    """What every position of an image is trained on.

    Attributes:
        scores: wanted score for every class: how well the position fits the object that it is trained on; 0 elsewhere.
        boxes: box of the position's object; without meaning where all scores are 0.

    Shape:
        scores: (N, classes)
        boxes: (N, 4)
    """

    scores: Tensor
    boxes: Tensor


@final
class TinyDetLoss:
    """Binary cross-entropy of the scores, and generalized IoU of the boxes (arXiv:1902.09630).

    A position's wanted score is how well it fits its object, so that boxes that lie well get high scores.

    Args:
        strides: of the network's maps.
    """

    def __init__(self, strides: Sequence[int]) -> None:
        self._strides = tuple(strides)

    def __call__(
        self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return for every image the sum of its losses, and the sum of the wanted scores.

        The loss of a batch is the sum of the first divided by the sum of the second.

        Args:
            outputs: class logits of every map, then distances of every map.
            objects: ground truth of every image, boxes in pixels of the input.
            size: (height, width) of the images, pixels; the maps tell it, too.

        Shape:
            returned: (B,), (B,)
        """
        del size
        logits, boxes, points = self._positions(outputs)
        parts = [
            _image_loss(image_logits, image_boxes, points, image)
            for image_logits, image_boxes, image in zip(logits, boxes, objects, strict=True)
        ]
        sums, weights = zip(*parts, strict=True)
        return torch.stack(sums), torch.stack(weights)

    def _positions(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, N, classes), boxes (B, N, 4) in pixels and points (N, 2) of the positions of all maps."""
        maps = len(self._strides)
        logits = [one.float().flatten(2).transpose(1, 2) for one in outputs[:maps]]
        boxes: list[Tensor] = []
        all_points: list[Tensor] = []
        for distances, stride in zip(outputs[maps:], self._strides, strict=True):
            points = torch.from_numpy(map_points(*distances.shape[2:], stride).copy()).to(distances.device)
            sides = F.softplus(distances.float().flatten(2).transpose(1, 2)) * stride
            boxes.append(torch.cat([points - sides[..., :2], points + sides[..., 2:]], dim=2))
            all_points.append(points)
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1), torch.cat(all_points)


def _image_loss(logits: Tensor, boxes: Tensor, points: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    target = assign(logits.detach().sigmoid(), boxes.detach(), points, objects)
    with torch.no_grad():
        focus = (logits.sigmoid() - target.scores).abs() ** _FOCUS
    classes = (focus * F.binary_cross_entropy_with_logits(logits, target.scores, reduction="none")).sum()
    weights = target.scores.sum(dim=1)
    trained = weights > 0
    distance = generalized_box_iou_loss(boxes[trained], target.boxes[trained])
    return classes + _BOX_WEIGHT * (distance * weights[trained]).sum(), weights.sum()


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, objects: Objects) -> Assignment:
    """Give positions the objects that their own predictions fit best.

    Every object takes the positions inside its box with the largest alignment, score * IoU^6. If several objects want a
    position, the one that its box overlaps most gets it. The wanted scores of an object's positions are their
    alignments, scaled so that the largest one equals the largest IoU.

    Args:
        scores: for every class, 0 to 1.
        boxes: predicted boxes, pixels.
        points: centres of the positions, (x, y) in pixels.
        objects: of the image. Crowds do not count.

    Shape:
        scores: (N, classes)
        boxes: (N, 4)
        points: (N, 2)
    """
    wanted = torch.zeros_like(scores)
    single = ~objects.crowd
    truth, labels = objects.boxes[single], objects.labels[single]
    if not len(truth):
        return Assignment(wanted, torch.zeros_like(boxes))
    # Rows are objects, columns are positions.
    overlap = box_iou(truth, boxes)
    alignment = scores[:, labels].T ** _SCORE_POWER * overlap**_IOU_POWER
    inside = _inside(points, truth)
    alignment = alignment * inside
    # Every object takes its best positions; a position takes the object that its box overlaps most.
    best = alignment.topk(min(_CANDIDATES, len(points)), dim=1).indices
    taken = torch.zeros_like(inside).scatter_(1, best, value=True) & inside
    owner = torch.where(taken, overlap, -1).argmax(dim=0)
    is_trained = taken.any(dim=0)
    taken &= owner == torch.arange(len(truth), device=owner.device)[:, None]
    alignment = alignment * taken
    # Scale the alignments of every object to its best overlap.
    largest = alignment.amax(dim=1, keepdim=True).clamp(min=torch.finfo(alignment.dtype).tiny)
    best_overlap = (overlap * taken).amax(dim=1, keepdim=True)
    scaled = (alignment / largest * best_overlap).gather(0, owner[None])[0]
    positions = torch.arange(len(points), device=owner.device)
    wanted[positions, labels[owner]] = scaled * is_trained
    return Assignment(wanted, truth[owner])


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Return whether points lie inside boxes, (boxes, points); the point nearest to a box that has none counts too."""
    sides = torch.cat([points[None] - boxes[:, None, :2], boxes[:, None, 2:] - points[None]], dim=2)
    inside = sides.amin(dim=2) > 0
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = torch.cdist(centres, points).argmin(dim=1)
    empty = ~inside.any(dim=1)
    inside[empty, nearest[empty]] = True
    return inside
