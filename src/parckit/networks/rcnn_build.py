"""Build two-stage detectors from a spec: Faster R-CNN, Mask R-CNN and their cascade of three stages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from parckit.contract import DecoderSpec, InputError, NetworkSpec, OutputSpec
from parckit.networks.features import Backbone
from parckit.networks.head_settings import read_head_settings
from parckit.networks.rcnn import RCNN, STRIDES
from parckit.networks.rcnn_parts import (
    MASK_SIDE,
    Anchors,
    MaskBranch,
    ProposalHead,
    RoiPool,
    SharedBoxPredictor,
    iou_of_few,
)
from parckit.processing import DETECTIONS, DetectionsDecoder, usual_settings

FASTER, MASK, CASCADE = "faster_rcnn", "mask_rcnn", "cascade_mask_rcnn"
"""Names of the heads."""

_RATIOS = (0.5, 1.0, 2.0)
"""Height of an anchor per width, as in the paper of the pyramid."""
_STAGES = ((0.5, 10.0), (0.6, 20.0), (0.7, 30.0))
"""Of every stage of the cascade: least IoU of a box and its object, and the factor of its offsets (Cascade R-CNN)."""
_SIZE_FACTOR = 0.5
"""Factor of offsets of width and height beside those of the centre: 10 and 5 in the first stage (Fast R-CNN)."""
_POOLED_FOR_BOX = 7
"""Side of the part of a map that a stage sees of a box, as in the paper of the pyramid."""
_RPN_IOU = (0.7, 0.3)
"""An anchor with at least the first IoU shows an object, one below the second the background (Faster R-CNN)."""
_RPN_SAMPLES, _RPN_POSITIVE = 256, 0.5
"""Anchors of an image that are trained on, and the largest share of them that shows an object (Faster R-CNN)."""
_RPN_OVERLAP = 0.7
"""Of two proposals with a larger IoU, only the better one stays (Faster R-CNN)."""
_POSITIVE = 0.25
"""Largest share of the sampled proposals that shows an object (Fast R-CNN)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RcnnSettings:
    """Keywords of the heads `faster_rcnn`, `mask_rcnn` and `cascade_mask_rcnn`. The defaults are those for COCO.

    Attributes:
        width: channels of the pyramid.
        hidden: width of the two fully connected layers of every stage.
        mask_width: channels of the mask branch.
        anchors: side of the anchors on every map, pixels. The maps have strides 4, 8, 16, 32 and 64.
        proposals: most proposals of an image, in training twice as many.
        samples: proposals of an image that are trained on.
        threshold: least score of a detection.
        overlap: of two detections of a class with a larger IoU, only the better one stays.
        most: most detections of an image.

    Raises:
        InputError: if a number is out of range.
    """

    width: int = 256
    hidden: int = 1024
    mask_width: int = 256
    anchors: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    proposals: int = 1000
    samples: int = 512
    threshold: float = 0.05
    overlap: float = 0.5
    most: int = 100

    def __post_init__(self) -> None:
        for name in ("width", "hidden", "mask_width", "proposals", "samples", "most"):
            if (value := cast("int", getattr(self, name))) < 1:
                raise InputError(f"{name}={value}: must be at least 1")
        for name in ("threshold", "overlap"):
            if not 0 <= (share := cast("float", getattr(self, name))) <= 1:
                raise InputError(f"{name}={share}: must lie between 0 and 1")
        if len(self.anchors) != len(STRIDES) + 1 or min(self.anchors) < 1:
            raise InputError(f"anchors={self.anchors}: needs {len(STRIDES) + 1} sides of at least 1 pixel")


def outputs_of(spec: NetworkSpec) -> tuple[OutputSpec, ...]:
    """Return the outputs of a spec's network. D stands for the detections, whose number is free."""
    masks = OutputSpec(name="masks", dtype="float32", layout="DHW", shape=(None, MASK_SIDE, MASK_SIDE))
    return (
        OutputSpec(name="boxes", dtype="float32", layout="DC", shape=(None, 4)),
        OutputSpec(name="scores", dtype="float32", layout="D", shape=(None,)),
        OutputSpec(name="labels", dtype="int64", layout="D", shape=(None,)),
        *(() if spec.head == FASTER else (masks,)),
    )


def decoder_of(spec: NetworkSpec) -> DecoderSpec:
    """Return how the outputs of a spec's network become an answer."""
    return DecoderSpec(
        name=DETECTIONS,
        defaults={**usual_settings(DetectionsDecoder), "most": read_head_settings(RcnnSettings, spec).most},
    )


def build_rcnn(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the two-stage detector that a spec describes, with one class for every label and one for the background.

    Raises:
        InputError: if there is no such backbone, or it or the head refuses a keyword.
    """
    settings, classes = read_head_settings(RcnnSettings, spec), len(spec.labels) + 1
    backbone = Backbone(spec.backbone, spec.backbone_kwargs, strides=STRIDES, pretrained=pretrained)
    is_cascade = spec.head == CASCADE
    return RCNN(
        backbone,
        pyramid=FeaturePyramidNetwork(list(backbone.channels), settings.width, extra_blocks=LastLevelMaxPool()),
        rpn=_rpn(settings),
        stages=[
            _stage(settings, classes=classes, least_iou=least_iou, factor=factor, shared=is_cascade)
            for least_iou, factor in (_STAGES if is_cascade else _STAGES[:1])
        ],
        mask_branch=None
        if spec.head == FASTER
        else MaskBranch(settings.width, width=settings.mask_width, classes=classes, strides=STRIDES),
    )


def label_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the weights that depend on the classes."""
    rcnn = cast("RCNN", network)
    prefixes: list[str] = []
    for index, stage in enumerate(cast("list[RoIHeads]", list(rcnn.stages))):
        prefixes.append(f"stages.{index}.box_predictor.cls_score.")
        if not isinstance(stage.box_predictor, SharedBoxPredictor):
            prefixes.append(f"stages.{index}.box_predictor.bbox_pred.")
    return (*prefixes, *(() if rcnn.mask_branch is None else ("mask_branch.predictor.mask_fcn_logits.",)))


def _rpn(settings: RcnnSettings) -> RegionProposalNetwork:
    sizes = tuple((side,) for side in settings.anchors)
    generator = AnchorGenerator(sizes, (_RATIOS,) * len(sizes))
    most = {"training": 2 * settings.proposals, "testing": settings.proposals}
    rpn = RegionProposalNetwork(
        cast("AnchorGenerator", Anchors(generator, strides=(*STRIDES, 2 * STRIDES[-1]))),
        ProposalHead(settings.width, len(_RATIOS)),
        *_RPN_IOU,
        batch_size_per_image=_RPN_SAMPLES,
        positive_fraction=_RPN_POSITIVE,
        pre_nms_top_n=most,
        post_nms_top_n=most,
        nms_thresh=_RPN_OVERLAP,
    )
    rpn.box_similarity = cast("Callable[..., Tensor]", iou_of_few)
    return rpn


def _stage(settings: RcnnSettings, *, classes: int, least_iou: float, factor: float, shared: bool) -> RoIHeads:
    predictor = SharedBoxPredictor if shared else FastRCNNPredictor
    return RoIHeads(
        cast("MultiScaleRoIAlign", RoiPool(_POOLED_FOR_BOX, strides=STRIDES)),
        TwoMLPHead(settings.width * _POOLED_FOR_BOX**2, settings.hidden),
        predictor(settings.hidden, classes),
        fg_iou_thresh=least_iou,
        bg_iou_thresh=least_iou,
        batch_size_per_image=settings.samples,
        positive_fraction=_POSITIVE,
        bbox_reg_weights=(factor, factor, _SIZE_FACTOR * factor, _SIZE_FACTOR * factor),
        score_thresh=settings.threshold,
        nms_thresh=settings.overlap,
        detections_per_img=settings.most,
    )
