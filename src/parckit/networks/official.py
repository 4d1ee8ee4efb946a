"""Load official checkpoints of detectors and segmenters, whose backbone is called `encoder`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from parckit.contract import InputError, NetworkSpec, Task
from parckit.models import check_official_keys, expect_official_input, rename_official_key, unwrap_state_dict
from parckit.networks import deeplabv3, ssd
from parckit.networks.features import BACKBONE

_ENCODER = "encoder."


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficialHead:
    """What the official networks with a head have in common.

    Attributes:
        task: of the networks.
        names: patterns and replacements that turn the official names of the head's weights into ours.
        num_classes: number of classes of the published weights, without the background of a detector.
        size: (height, width) of the images; pictures are stretched to it.
    """

    task: Task
    names: Sequence[tuple[str, str]]
    num_classes: int
    size: tuple[int, int]


OFFICIAL_HEADS: Mapping[str, OfficialHead] = {
    "ssd": OfficialHead(task="detect", names=ssd.OFFICIAL_NAMES, num_classes=80, size=(320, 320)),
    "deeplabv3": OfficialHead(task="segment", names=deeplabv3.OFFICIAL_NAMES, num_classes=21, size=(512, 512)),
}
"""The heads of which official weights exist."""


def load_official_network(network: nn.Module, spec: NetworkSpec, state_dict: Mapping[str, object]) -> None:
    """Load the weights of an official detector or segmenter, and note which input its backbone expects.

    Args:
        network: from `build_network(spec)`.
        spec: its spec.
        state_dict: the official state dict, with or without a wrapper; see `load_official_state_dict`.

    Raises:
        InputError: if no official weights exist for the head, or the keys do not fit. The error then names them. The
            network is unchanged.
    """
    if spec.head not in OFFICIAL_HEADS:
        raise InputError(f"head={spec.head!r}: official weights exist for {', '.join(OFFICIAL_HEADS)}")
    weights = unwrap_state_dict(state_dict)
    names = {key: _rename(key, spec=spec) for key in weights}
    ours = {name: weights[key] for key, name in names.items() if name is not None}
    origin = {name: key for key, name in names.items() if name is not None}
    check_official_keys(network.state_dict(), ours, origin)
    network.load_state_dict(ours)
    expect_official_input(network.get_submodule(BACKBONE.removesuffix(".")))


def _rename(key: str, *, spec: NetworkSpec) -> str | None:
    """Return our name of an official weight, or None for a second copy."""
    if key.startswith(_ENCODER):
        name = rename_official_key(key.removeprefix(_ENCODER), model=spec.backbone)
        return None if name is None else f"{BACKBONE}{name}"
    for pattern, replacement in OFFICIAL_HEADS[spec.head].names:
        key = re.sub(pattern, replacement, key)
    return key
