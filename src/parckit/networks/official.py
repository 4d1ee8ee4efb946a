"""Load official checkpoints of detectors and segmenters, whose backbone is called `encoder`."""

import re
from collections.abc import Mapping, Sequence

from torch import nn

from parckit.contract import InputError, NetworkSpec
from parckit.models import check_official_keys, rename_official_key, unwrap_state_dict
from parckit.networks import deeplabv3, ssd
from parckit.networks.features import BACKBONE

_ENCODER = "encoder."
_HEAD_NAMES: Mapping[str, Sequence[tuple[str, str]]] = {
    "ssd": ssd.OFFICIAL_NAMES,
    "deeplabv3": deeplabv3.OFFICIAL_NAMES,
}
"""Name of a head -> patterns and replacements for the official names of its weights."""


def load_official_network(network: nn.Module, spec: NetworkSpec, state_dict: Mapping[str, object]) -> None:
    """Load the weights of an official detector or segmenter.

    Args:
        network: from `build_network(spec)`.
        spec: its spec.
        state_dict: the official state dict, with or without a wrapper; see `load_official_state_dict`.

    Raises:
        InputError: if no official weights exist for the head, or the keys do not fit. The error then names them. The
            network is unchanged.
    """
    if spec.head not in _HEAD_NAMES:
        raise InputError(f"head={spec.head!r}: official weights exist for {', '.join(_HEAD_NAMES)}")
    weights = unwrap_state_dict(state_dict)
    names = {key: _rename(key, spec=spec) for key in weights}
    ours = {name: weights[key] for key, name in names.items() if name is not None}
    origin = {name: key for key, name in names.items() if name is not None}
    check_official_keys(network.state_dict(), ours, origin)
    network.load_state_dict(ours)


def _rename(key: str, *, spec: NetworkSpec) -> str | None:
    """Return our name of an official weight, or None for a second copy."""
    if key.startswith(_ENCODER):
        name = rename_official_key(key.removeprefix(_ENCODER), model=spec.backbone)
        return None if name is None else f"{BACKBONE}{name}"
    for pattern, replacement in _HEAD_NAMES[spec.head]:
        key = re.sub(pattern, replacement, key)
    return key
