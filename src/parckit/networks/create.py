"""Detectors and segmenters by one short name, for other people's code."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, Task
from parckit.networks.build import HEADS, build_network
from parckit.networks.transfer import copy_weights

_ANY_SIZE = Preprocessing(size=(320, 320))
"""Weights do not depend on it."""


def create_detector(
    name: str,
    *,
    num_classes: int,
    pretrained_backbone: bool | Path | str = False,
    backbone_kwargs: Mapping[str, object] | None = None,
    **head_kwargs: object,
) -> nn.Module:
    """Build a detector: `create_detector("ssd_parcnet_s", num_classes=80)`.

    In Python the network returns raw maps, and a two-stage one (`mask_rcnn_resnet18`) detections of one image;
    `parckit.load` of a checkpoint or bundle returns boxes.

    Args:
        name: the head and the backbone, such as `ssd_parcnet_s` and `tinydet_mobilenetv2_050`. The backbone may be any
            model of timm or parckit that has the maps that the head needs.
        num_classes: number of classes, without the background.
        pretrained_backbone: True for the weights that timm has for the backbone, which may be downloaded; or a
            checkpoint of parckit's, such as that of a classifier. False: random weights.
        backbone_kwargs: further keywords of the backbone, such as `img_size` of a ParC-Net.
        head_kwargs: further keywords of the head, such as `width` of `tinydet`.

    Raises:
        InputError: if there is no such head, backbone or weights, or one of them refuses a keyword.
    """
    return _create(
        "detect",
        name,
        num_classes=num_classes,
        pretrained_backbone=pretrained_backbone,
        backbone_kwargs=backbone_kwargs,
        head_kwargs=head_kwargs,
    )


def create_segmenter(
    name: str,
    *,
    num_classes: int,
    pretrained_backbone: bool | Path | str = False,
    backbone_kwargs: Mapping[str, object] | None = None,
    **head_kwargs: object,
) -> nn.Module:
    """Build a segmenter: `create_segmenter("deeplabv3_parcnet_s", num_classes=21)`.

    In Python the network returns logits of a coarse map; upsample them to the size of the image with bilinear
    interpolation. `parckit.load` of a checkpoint or bundle returns a class for every pixel of the picture.

    Args:
        name: the head and the backbone, such as `deeplabv3_parcnet_s` and `lraspp_mobilenetv2_050`. The backbone may be
            any model of timm or parckit that has the maps that the head needs.
        num_classes: number of classes; if there is a background, it counts as one.
        pretrained_backbone: see `create_detector`.
        backbone_kwargs: further keywords of the backbone, such as `img_size` of a ParC-Net.
        head_kwargs: further keywords of the head, such as `output_stride` of `deeplabv3`.

    Raises:
        InputError: if there is no such head, backbone or weights, or one of them refuses a keyword.
    """
    return _create(
        "segment",
        name,
        num_classes=num_classes,
        pretrained_backbone=pretrained_backbone,
        backbone_kwargs=backbone_kwargs,
        head_kwargs=head_kwargs,
    )


def _create(
    task: Task,
    name: str,
    *,
    num_classes: int,
    pretrained_backbone: bool | Path | str,
    backbone_kwargs: Mapping[str, object] | None,
    head_kwargs: Mapping[str, object],
) -> nn.Module:
    if num_classes < 1:
        raise InputError(f"num_classes={num_classes}: need at least 1")
    head, backbone = _split(name, task)
    spec = NetworkSpec(
        task=task,
        backbone=backbone,
        backbone_kwargs=dict(backbone_kwargs or {}),
        head=head,
        head_kwargs=head_kwargs,
        labels=tuple(map(str, range(num_classes))),
        preprocessing=_ANY_SIZE,
    )
    if isinstance(pretrained_backbone, bool):
        return build_network(spec, pretrained=pretrained_backbone)
    network = build_network(spec)
    copy_weights(network, spec, path=Path(pretrained_backbone))
    return network


def _split(name: str, task: Task) -> tuple[str, str]:
    """Return head and backbone. One head's name may begin with another's, so the longest one counts."""
    heads = sorted((head for of_task, head in HEADS if of_task == task), key=len, reverse=True)
    for head in heads:
        if name.startswith(f"{head}_"):
            return head, name.removeprefix(f"{head}_")
    raise InputError(f"name={name!r}: must be HEAD_BACKBONE, with one of the heads {', '.join(sorted(heads))}")
