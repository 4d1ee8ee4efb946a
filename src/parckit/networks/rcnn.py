"""Two-stage detectors: proposals, then a class, a better box and a mask for each of them.

Faster R-CNN (arXiv:1506.01497), Mask R-CNN (arXiv:1703.06870) and Cascade R-CNN (arXiv:1712.00726) over a feature
pyramid (arXiv:1612.03144). The parts are torchvision's; the cascade of stages is ours. Proposals stay inside the
network, because its second half runs on them: the outputs are detections, and the network takes one image at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, cast, final

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import FeaturePyramidNetwork, clip_boxes_to_image

from parckit.contract import InputError
from parckit.networks.features import Backbone, DenseNetwork
from parckit.networks.rcnn_parts import MaskBranch, box_losses

STRIDES = (4, 8, 16, 32)
"""Pixels of the image per position of the backbone's maps. The pyramid adds one with half the positions."""

_STAGE_WEIGHTS = (1.0, 0.5, 0.25)
"""Weight of every stage's loss: later stages of a cascade see boxes that change with the earlier ones in training."""

Maps = dict[str, Tensor]
"""Name -> map, the finest first, as torchvision's parts take them."""


class GroundTruth(Protocol):
    """The objects of a training image; `parckit.data.Objects` says what the attributes mean."""

    @property
    def boxes(self) -> Tensor: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def crowd(self) -> Tensor: ...  # noqa: D102
    @property
    def masks(self) -> Tensor | None: ...  # noqa: D102


@final
class RCNN(DenseNetwork):
    """A backbone, a feature pyramid, a network for proposals, stages that refine boxes, and a mask branch.

    In training, call `losses`. In eval mode, the network takes one image and returns detections, the best first: boxes
    (left, top, right, bottom) in pixels of the image, scores from 0 to 1, class indices, and with a mask branch the
    probability that a part of the box belongs to the object.

    On the meta device, which has no data, there are as many proposals and detections as there can be: so the network's
    cost is counted for the most that it may have to do.

    Args:
        backbone: gives the maps of `STRIDES`.
        pyramid: brings the maps to one width and adds a coarser one.
        rpn: proposes boxes.
        stages: classify and refine boxes, one after the other. Their predictors give offsets for every class, the
            background first; all stages but the last give the same offsets for all classes.
        mask_branch: gives masks; None for a network without.

    Shape:
        (1, 3, H, W) -> (N, 4), (N,), (N,), and with a mask branch (N, 28, 28)
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        pyramid: FeaturePyramidNetwork,
        rpn: RegionProposalNetwork,
        stages: Sequence[RoIHeads],
        mask_branch: MaskBranch | None,
    ) -> None:
        super().__init__(backbone)
        self.pyramid = pyramid
        self.rpn = rpn
        self.stages = nn.ModuleList(stages)
        self.mask_branch = mask_branch

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the detections.

        Raises:
            ValueError: in training mode, or for another number of images than one.
        """
        if images.is_meta:
            return self._forward_without_data(images)
        # Sizes are read from shapes, not with len, so that torch's tracing exporter sees that they depend on the image.
        if self.training or images.shape[0] != 1:
            raise ValueError(f"training={self.training}, {len(images)} images: needs eval mode and one image")
        maps, size = self._maps(images), _size(images)
        proposals, _ = self.rpn(ImageList(images, [size]), maps)
        boxes, scores, labels = self._detect(maps, proposals, size)
        if self.mask_branch is None:
            return boxes, scores, labels - 1
        logits = self.mask_branch(maps, [boxes], [size])
        return boxes, scores, labels - 1, self.mask_branch.probabilities(logits, labels)

    def losses(self, images: Tensor, objects: Sequence[GroundTruth]) -> dict[str, Tensor]:
        """Return the losses of a training batch, whose sum is to be minimised. Crowds are left out.

        The losses are `proposal_scores` and `proposal_boxes`, `classes_1` and `boxes_1` of the first stage, and so on,
        and `masks`.

        Args:
            images: a batch.
            objects: ground truth of every image, boxes in pixels of the images.

        Raises:
            InputError: if the network has a mask branch and the objects have no masks.
            ValueError: in eval mode.

        Shape:
            images: (B, 3, H, W)
        """
        if not self.training:
            raise ValueError("eval mode: the losses need training mode")
        maps, sizes = self._maps(images), [_size(images)] * len(images)
        targets = [_target(image, needs_masks=self.mask_branch is not None) for image in objects]
        proposals, of_proposals = self.rpn(ImageList(images, sizes), maps, targets)
        results = {
            "proposal_scores": of_proposals["loss_objectness"],
            "proposal_boxes": of_proposals["loss_rpn_box_reg"],
        }
        truth, classes = [target["boxes"] for target in targets], [target["labels"] for target in targets]
        # The first stage draws a sample of the proposals, and the later ones refine the boxes of this sample.
        boxes, matched, labels, offsets = self._stages[0].select_training_samples(proposals, targets)
        sampled = boxes, matched, labels
        for number, (stage, weight) in enumerate(zip(self._stages, _STAGE_WEIGHTS, strict=False), 1):
            if number > 1:
                matched, labels = stage.assign_targets_to_proposals(boxes, truth, classes)
                offsets = stage.box_coder.encode(_objects_of(truth, matched), boxes)
            logits, predicted = _predict(stage, maps, boxes, sizes)
            of_classes, of_boxes = box_losses(logits, predicted, labels=torch.cat(labels), wanted=torch.cat(offsets))
            results |= {f"classes_{number}": weight * of_classes, f"boxes_{number}": weight * of_boxes}
            if number < len(self._stages):
                boxes = _refine(stage, predicted, boxes, sizes)
        if self.mask_branch is not None:
            results["masks"] = self.mask_branch.loss(
                maps, *sampled, sizes=sizes, masks=[target["masks"] for target in targets]
            )
        return results

    def _forward_without_data(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self._maps(images)
        self.rpn.head(list(maps.values()))
        width = maps["0"].shape[1]
        for stage in self._stages:
            pooled = images.new_empty(self.rpn.post_nms_top_n(), width, *stage.box_roi_pool.output_size)
            stage.box_predictor(stage.box_head(pooled))
        most = self._stages[-1].detections_per_img
        labels = torch.empty(most, dtype=torch.int64, device=images.device)
        detections = images.new_empty(most, 4), images.new_empty(most), labels
        if self.mask_branch is None:
            return detections
        pooled = images.new_empty(most, width, *self.mask_branch.pool.output_size)
        logits = self.mask_branch.predictor(self.mask_branch.layers(pooled))
        return *detections, logits[:, 0]

    @property
    def _stages(self) -> list[RoIHeads]:
        return cast("list[RoIHeads]", list(self.stages))

    def _maps(self, images: Tensor) -> Maps:
        """Return the pyramid's maps in float32: numbers of pixels need it, whatever the precision of the layers is."""
        maps = {str(index): one for index, one in enumerate(self.backbone(images))}
        return OrderedDict((name, one.float()) for name, one in self.pyramid(maps).items())

    def _detect(self, maps: Maps, proposals: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the boxes, scores and labels, with 0 for the background, of one image."""
        boxes = proposals
        scores: list[Tensor] = []
        logits = offsets = torch.empty(0)
        for stage in self._stages:
            # All stages but the first see what the one before has refined.
            boxes = _refine(self._stages[len(scores) - 1], offsets, boxes, [size]) if scores else boxes
            logits, offsets = _predict(stage, maps, boxes, [size])
            scores.append(logits.softmax(dim=1))
        # The last stage's method takes logits; the logarithms of the mean scores are logits that give these scores.
        logits = torch.stack(scores).mean(dim=0).log() if len(scores) > 1 else logits
        (boxes,), (best,), (labels,) = self._stages[-1].postprocess_detections(logits, offsets, boxes, [size])
        return boxes, best, labels


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _target(objects: GroundTruth, *, needs_masks: bool) -> dict[str, Tensor]:
    """Return what torchvision's parts take: 0 is the label of the background."""
    single = ~objects.crowd
    target = {"boxes": objects.boxes[single].float(), "labels": objects.labels[single] + 1}
    if not needs_masks:
        return target
    if objects.masks is None:
        raise InputError("objects have boxes and no masks: the head faster_rcnn needs none")
    return target | {"masks": objects.masks[single]}


def _predict(stage: RoIHeads, maps: Maps, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Return a stage's class logits and offsets for boxes.

    Shape:
        returned: (boxes of all images, 1 + classes), (boxes of all images, (1 + classes) * 4)
    """
    logits, offsets = stage.box_predictor(stage.box_head(stage.box_roi_pool(maps, boxes, sizes)))
    return logits.float(), offsets.float()


def _refine(stage: RoIHeads, offsets: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Return boxes moved by a stage's offsets and cut at the image's borders. No gradient flows through them."""
    moved = stage.box_coder.decode(offsets[:, :4].detach(), boxes).flatten(1)
    parts = moved.split([one.shape[0] for one in boxes])
    return [clip_boxes_to_image(one, size) for one, size in zip(parts, sizes, strict=True)]


def _objects_of(truth: list[Tensor], matched: list[Tensor]) -> list[Tensor]:
    """Return the box of the object that every proposal is matched to; without objects, boxes of zeros."""
    return [
        boxes[indices] if len(boxes) else boxes.new_zeros(len(indices), 4)
        for boxes, indices in zip(truth, matched, strict=True)
    ]
