"""Networks, which are a backbone and a head for a task: build them from a spec, open and save their checkpoints."""

from parckit.networks.build import HEADS, Head, backbone_of, build_network, check_input, head_of
from parckit.networks.checkpoints import (
    NETWORK_PREFIX,
    add_digest,
    damage_named,
    names_checkpoint,
    open_checkpoint,
    read_training,
    save_weights,
)
from parckit.networks.create import create_detector, create_segmenter
from parckit.networks.official import OFFICIAL_HEADS, load_official_network
from parckit.networks.rcnn import RCNN
from parckit.networks.segmenter import Segmenter
from parckit.networks.transfer import copy_weights

__all__ = [
    "HEADS",
    "NETWORK_PREFIX",
    "OFFICIAL_HEADS",
    "RCNN",
    "Head",
    "Segmenter",
    "add_digest",
    "backbone_of",
    "build_network",
    "check_input",
    "copy_weights",
    "create_detector",
    "create_segmenter",
    "damage_named",
    "head_of",
    "load_official_network",
    "names_checkpoint",
    "open_checkpoint",
    "read_training",
    "save_weights",
]
