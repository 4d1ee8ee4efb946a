"""From a spec to a network, whatever its task."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from parckit.contract import DecoderSpec, InputError, NetworkSpec, OutputSpec
from parckit.models import try_images
from parckit.networks import classify
from parckit.processing import CLASSIFY


class _Build(Protocol):
    def __call__(self, spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What is known of a kind of network before one is built.

    Attributes:
        build: builds the network of a spec.
        outputs: what the network returns, in order; a single output is returned as a tensor, several as a tuple.
        decoder: how the outputs become an answer.
    """

    build: _Build
    outputs: tuple[OutputSpec, ...]
    decoder: Callable[[NetworkSpec], DecoderSpec]


HEADS: Mapping[tuple[str, str], Head] = {
    ("classify", "classifier"): Head(
        build=classify.build_classifier, outputs=(classify.LOGITS,), decoder=lambda _: CLASSIFY
    ),
}
"""Every head by (task, name). A new head is one line here and one file beside this one."""


def head_of(spec: NetworkSpec) -> Head:
    """Return what is known of a spec's kind of network.

    Raises:
        InputError: if this version has no such head for the task.
    """
    head = HEADS.get((spec.task, spec.head))
    if head is None:
        known = ", ".join(f"{name} ({task})" for task, name in HEADS)
        raise InputError(f"task={spec.task!r}, head={spec.head!r}: this version knows {known}")
    return head


def build_network(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the network that a spec describes.

    Args:
        spec: task, backbone, head, their keywords, labels.
        pretrained: with the weights that timm knows of the backbone, which may download them; else with fresh ones.

    Raises:
        InputError: if there is no such backbone, head or weights, or one refuses a keyword or its value.
    """
    return head_of(spec).build(spec, pretrained=pretrained)


def check_input(network: nn.Module, spec: NetworkSpec, *, size: tuple[int, int] | None = None) -> None:
    """Try a network on images of its spec's size, or of another one, on a copy without data.

    Args:
        network: the network to try.
        spec: what an error calls it.
        size: (height, width), pixels; None: the spec's.

    Raises:
        InputError: if it cannot take them.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    size = size or spec.preprocessing.size
    refusal = f"{spec.backbone} with {dict(spec.backbone_kwargs)} cannot take RGB images of size={size}"
    try_images(shadow, torch.empty(2, 3, *size, device="meta"), refusal=refusal)
