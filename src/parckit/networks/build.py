"""Build the network that a spec describes, for any task."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from parckit.contract import CLASSIFIER, DecoderSpec, InputError, NetworkSpec, OutputSpec
from parckit.models import shadow_of, try_images
from parckit.networks import classify, deeplabv3, lraspp, rcnn_build, segmenter, ssd, tinydet, upernet
from parckit.networks.features import BACKBONE
from parckit.networks.quantizing import add_quantizers, prepare_quantization
from parckit.processing import CLASSIFY, MULTILABEL


class _Build(Protocol):
    def __call__(self, spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A kind of network: how to build one, and what is known before it is built.

    Attributes:
        build: builds the network that a spec describes.
        outputs: returns the outputs of a spec's network, in order. The network itself returns a single output as a
            tensor, and several as a tuple.
        decoder: returns how the outputs become an answer.
        backbone: where the network holds the timm model: the prefix of its weights' names. Empty if the network is the
            timm model itself.
        label_weights: returns the prefixes of the weights that depend on the classes.
        has_masks: whether the network gives masks of objects, and is trained on them.
    """

    build: _Build
    outputs: Callable[[NetworkSpec], tuple[OutputSpec, ...]]
    decoder: Callable[[NetworkSpec], DecoderSpec]
    backbone: str
    label_weights: Callable[[nn.Module], tuple[str, ...]]
    has_masks: bool = False


def _two_stage(*, has_masks: bool) -> Head:
    return Head(
        build=rcnn_build.build_rcnn,
        outputs=rcnn_build.outputs_of,
        decoder=rcnn_build.decoder_of,
        backbone=BACKBONE,
        label_weights=rcnn_build.label_weights,
        has_masks=has_masks,
    )


def _segmenter(build: _Build) -> Head:
    return Head(
        build=build,
        outputs=segmenter.outputs_of,
        decoder=segmenter.decoder_of,
        backbone=BACKBONE,
        label_weights=segmenter.label_weights,
    )


def _classifier(decoder: DecoderSpec) -> Head:
    return Head(
        build=classify.build_classifier,
        outputs=lambda _: (classify.LOGITS,),
        decoder=lambda _: decoder,
        backbone="",
        label_weights=classify.label_weights,
    )


HEADS: Mapping[tuple[str, str], Head] = {
    ("classify", CLASSIFIER): _classifier(CLASSIFY),
    ("multilabel", CLASSIFIER): _classifier(MULTILABEL),
    ("detect", "ssd"): Head(
        build=ssd.build_ssd,
        outputs=lambda _: ssd.OUTPUTS,
        decoder=ssd.decoder_of,
        backbone=BACKBONE,
        label_weights=ssd.label_weights,
    ),
    ("detect", "tinydet"): Head(
        build=tinydet.build_tinydet,
        outputs=tinydet.outputs_of,
        decoder=tinydet.decoder_of,
        backbone=BACKBONE,
        label_weights=tinydet.label_weights,
    ),
    ("detect", rcnn_build.FASTER): _two_stage(has_masks=False),
    ("detect", rcnn_build.MASK): _two_stage(has_masks=True),
    ("detect", rcnn_build.CASCADE): _two_stage(has_masks=True),
    ("segment", "deeplabv3"): _segmenter(deeplabv3.build_deeplabv3),
    ("segment", "lraspp"): _segmenter(lraspp.build_lraspp),
    ("segment", "upernet"): _segmenter(upernet.build_upernet),
}
"""Every head by (task, name). A new head needs one entry here and one file in this folder."""


_accepted: set[tuple[object, ...]] = set()
"""What `check_input` has found right in this process; a search for settings trains one network many times."""


def head_of(spec: NetworkSpec) -> Head:
    """Return the head that a spec names.

    Raises:
        InputError: if this version of parckit has no such head for the task.
    """
    head = HEADS.get((spec.task, spec.head))
    if head is None:
        known = ", ".join(f"{name} ({task})" for task, name in HEADS)
        raise InputError(f"task={spec.task!r}, head={spec.head!r}: this version knows {known}")
    return head


def backbone_of(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Return the timm model inside a network."""
    return network.get_submodule(head_of(spec).backbone.removesuffix("."))


def build_network(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the network that a spec describes. With a quantization in the spec, it is folded and has fake quantizers.

    Args:
        spec: task, backbone, head, their keywords, labels, quantization.
        pretrained: load the pretrained weights that timm has for the backbone, which may download them. Otherwise the
            weights are fresh.

    Raises:
        InputError: if there is no such backbone, head or weights, or if backbone or head refuse a keyword or its value.
    """
    if spec.quantization is None:
        return head_of(spec).build(spec, pretrained=pretrained)
    network = head_of(spec).build(replace(spec, quantization=None), pretrained=pretrained)
    return add_quantizers(prepare_quantization(network, spec), spec.quantization)


def check_input(network: nn.Module, spec: NetworkSpec, *, size: tuple[int, int] | None = None) -> None:
    """Check that a network takes images of a size, by running a copy of it on the meta device.

    What it has accepted once in this process is not tried again.

    Args:
        network: the network to check.
        spec: its spec; the error message names the backbone.
        size: (height, width), pixels; default: the size in the spec.

    Raises:
        InputError: if the network cannot take such images.
    """
    size = size or spec.preprocessing.size
    weights = tuple((name, weight.shape) for name, weight in network.named_parameters())
    case = (json.dumps(spec.to_dict()), size, weights)
    if case in _accepted:
        return
    shadow = shadow_of(network)
    channels = spec.preprocessing.channels
    kind = "grey" if channels == 1 else "RGB"
    refusal = f"{spec.backbone} with {dict(spec.backbone_kwargs)} cannot take {kind} images of size={size}"
    if (channels == 1) != (spec.backbone_kwargs.get("in_chans", 3) == 1):
        refusal += " (in_chans: 1 in model.kwargs and channel_order: grey in preprocessing go together)"
    images = torch.empty(2, channels, *size, device="meta")
    with torch.no_grad():
        try_images(shadow, images, refusal=refusal)
    _accepted.add(case)
