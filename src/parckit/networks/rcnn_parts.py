"""Parts of two-stage detectors that torchvision lacks, or that it builds in another way than we need."""

from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import box_iou, roi_align
from torchvision.ops.poolers import LevelMapper

_MASK_LAYERS = 4
"""Number of convolutions of the mask branch, as in Mask R-CNN."""
_POOLED_FOR_MASK = 14
"""Side of the part of a map that the mask branch sees of a box, as in Mask R-CNN."""
MASK_SIDE = 2 * _POOLED_FOR_MASK
"""Side of a mask."""
_FLAT = 0.1
"""Factor of the scores of anchors in eval mode. torchvision sorts proposals by the sigmoid of their scores, and engines
compute sigmoids near 0 so roughly that proposals with low scores would come in another order than in torch."""
_SAMPLES = 2
"""Samples along each side of a cell of RoIAlign, as in torchvision."""
_OBJECTS = 256
"""Objects whose overlaps with the anchors are computed at once."""
_BETA = 1 / 9
"""Error of an offset from which its loss grows linearly, as in torchvision."""


@final
class RoiPool(nn.Module):
    """Cut (side, side) maps of boxes out of the maps of some strides, the map of each box by its size.

    It equals torchvision's `MultiScaleRoIAlign`, except for two things. torchvision guesses the strides from the first
    image, and a small odd one makes it guess wrong. And it searches for the boxes of a map twice: the ONNX exporter
    merges the two searches and then cannot write them.

    Args:
        side: of the parts, in positions.
        strides: of the maps, each twice the one before.

    Attributes:
        output_size: (side, side).

    Shape:
        N boxes of all images -> (N, channels, side, side)
    """

    def __init__(self, side: int, *, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.output_size = (side, side)
        self._strides = strides
        coarsest = strides[-1].bit_length() - 1
        self._mapper = LevelMapper(coarsest - len(strides) + 1, coarsest)

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Return the parts of the boxes of all images; the images' sizes do not matter."""
        del sizes
        images = torch.cat([torch.full_like(one[:, :1], index) for index, one in enumerate(boxes)])
        rois = torch.cat([images, torch.cat(boxes)], dim=1)
        levels = self._mapper(boxes)
        parts: list[Tensor] = []
        rows: list[Tensor] = []
        for level, stride in enumerate(self._strides):
            (of_level,) = torch.where(levels == level)
            rows.append(of_level)
            parts.append(roi_align(maps[str(level)], rois[of_level], self.output_size, 1 / stride, _SAMPLES))
        return torch.cat(parts)[torch.cat(rows).argsort()]


@final
class Anchors(nn.Module):
    """Boxes of fixed sizes around every position of some maps; torchvision's, with the strides as they are.

    torchvision computes a stride as the image's side divided by the map's, which is wrong where the map is rounded up.

    Args:
        generator: the sizes and aspect ratios.
        strides: pixels of the image per position, of every map.
    """

    def __init__(self, generator: AnchorGenerator, *, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.generator = generator
        self.strides = strides

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors of every image, which are the same for all.

        Shape:
            returned: (anchors of all maps, 4)
        """
        self.generator.set_cell_anchors(maps[0].dtype, maps[0].device)
        sizes = [list(one.shape[-2:]) for one in maps]
        strides = cast("list[list[Tensor]]", [[stride, stride] for stride in self.strides])  # numbers serve as well
        anchors = torch.cat(self.generator.grid_anchors(sizes, strides))
        return [anchors] * len(images.image_sizes)


@final
class ProposalHead(nn.Module):
    """torchvision's `RPNHead` with results in float32, because proposals are numbers of pixels.

    Shape:
        (B, width, H, W) for every map -> (B, anchors, H, W) and (B, anchors * 4, H, W) for every map
    """

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.layers = RPNHead(width, anchors)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the scores, before the sigmoid, and the offsets of the anchors.

        In eval mode only the order of the scores counts, and they are made flatter.
        """
        scores, offsets = self.layers(maps)
        scale = 1.0 if self.training else _FLAT
        return [scale * one.float() for one in scores], [one.float() for one in offsets]


def iou_of_few(objects: Tensor, anchors: Tensor) -> Tensor:
    """Return torchvision's `box_iou`, computed for some objects at a time.

    For 5,000 objects in an image of 320x320, training needs 2 GB with it, and 5 GB without.

    Shape:
        (N, 4), (M, 4) -> (N, M)
    """
    return torch.cat([box_iou(some, anchors) for some in objects.split(_OBJECTS)])


@final
class SharedBoxPredictor(nn.Module):
    """Class logits and offsets of a box that are the same for all classes, as in Cascade R-CNN.

    Shape:
        (N, before) -> (N, classes), (N, classes * 4)
    """

    def __init__(self, before: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(before, classes)
        self.bbox_pred = nn.Linear(before, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the layers."""
        logits = self.cls_score(x)
        return logits, self.bbox_pred(x).repeat(1, logits.shape[1])


@final
class MaskBranch(nn.Module):
    """Masks of boxes, one for every class (arXiv:1703.06870, section 3).

    Args:
        before: width of the maps.
        width: of the branch's convolutions.
        classes: number of classes with the background.
        strides: of the maps.

    Shape:
        N boxes -> (N, classes, 28, 28) logits
    """

    def __init__(self, before: int, *, width: int, classes: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.pool = RoiPool(_POOLED_FOR_MASK, strides=strides)
        self.layers = MaskRCNNHeads(before, (width,) * _MASK_LAYERS, dilation=1)
        self.predictor = MaskRCNNPredictor(width, width, classes)

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Return the logits for the boxes of all images, whose sizes are (height, width)."""
        return self.predictor(self.layers(self.pool(maps, boxes, sizes))).float()

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the probabilities of the boxes' classes.

        Shape:
            (N, classes, 28, 28), (N,) -> (N, 28, 28)
        """
        return logits[torch.arange(labels.shape[0], device=labels.device), labels].sigmoid()

    def loss(
        self,
        maps: dict[str, Tensor],
        boxes: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        *,
        sizes: list[tuple[int, int]],
        masks: list[Tensor],
    ) -> Tensor:
        """Return the mean binary cross-entropy of the masks of all boxes that have an object.

        Args:
            maps: of the batch.
            boxes: of every image.
            matched: index of every box's object.
            labels: class of every box; 0 for the background.
            sizes: (height, width) of every image.
            masks: of the objects of every image.
        """
        trained = [torch.where(one > 0)[0] for one in labels]
        inside = [one[rows] for one, rows in zip(boxes, trained, strict=True)]
        logits = self(maps, inside, sizes)
        if not len(logits):
            return 0 * logits.sum()
        wanted = [
            cut_masks(objects, one, indices[rows])
            for objects, one, indices, rows in zip(masks, inside, matched, trained, strict=True)
        ]
        classes = torch.cat([one[rows] for one, rows in zip(labels, trained, strict=True)])
        of_class = logits[torch.arange(len(classes), device=classes.device), classes]
        return F.binary_cross_entropy_with_logits(of_class, torch.cat(wanted))


def cut_masks(masks: Tensor, boxes: Tensor, matched: Tensor) -> Tensor:
    """Return the part of its object's mask that every box shows; one object after the other, which saves memory.

    Shape:
        masks: (objects, H, W) bool
        boxes: (N, 4)
        matched: (N,), indices of objects
        returned: (N, 28, 28), from 0 to 1
    """
    parts = boxes.new_zeros(len(boxes), MASK_SIDE, MASK_SIDE)
    for index in cast("list[int]", matched.unique().tolist()):
        rows = matched == index
        parts[rows] = roi_align(masks[index, None, None].to(boxes), [boxes[rows]], MASK_SIDE)[:, 0]
    return parts


def box_losses(logits: Tensor, offsets: Tensor, *, labels: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of boxes, and smooth L1 of the offsets of those that have an object.

    Both are divided by the number of all boxes (arXiv:1504.08083, section 2.3); without boxes they are zero.

    Shape:
        logits: (N, classes)
        offsets: (N, classes * 4)
        labels: (N,); 0 for the background
        wanted: (N, 4)
    """
    count = max(1, len(labels))
    trained = torch.where(labels > 0)[0]
    of_class = offsets.unflatten(1, (-1, 4))[trained, labels[trained]]
    classes = F.cross_entropy(logits, labels, reduction="sum")
    boxes = F.smooth_l1_loss(of_class, wanted[trained], beta=_BETA, reduction="sum")
    return classes / count, boxes / count
