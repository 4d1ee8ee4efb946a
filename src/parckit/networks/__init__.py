"""Networks, which are a backbone and a head for a task: build them from a spec, open and save their checkpoints."""

from parckit.networks.build import HEADS, Head, build_network, check_input, head_of
from parckit.networks.checkpoints import (
    NETWORK_PREFIX,
    add_digest,
    damage_named,
    names_checkpoint,
    open_checkpoint,
    read_training,
    save_weights,
)

__all__ = [
    "HEADS",
    "NETWORK_PREFIX",
    "Head",
    "add_digest",
    "build_network",
    "check_input",
    "damage_named",
    "head_of",
    "names_checkpoint",
    "open_checkpoint",
    "read_training",
    "save_weights",
]
