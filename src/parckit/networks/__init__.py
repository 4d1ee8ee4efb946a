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
from parckit.networks.fake_quantizer import FakeQuantizer
from parckit.networks.official import OFFICIAL_HEADS, load_official_network
from parckit.networks.quantized_places import place_quantizers
from parckit.networks.quantizing import (
    FakeQuantizers,
    add_quantizers,
    calibrate,
    find_quantizers,
    has_quantizers,
    prepare_quantization,
)
from parckit.networks.rcnn import RCNN
from parckit.networks.rounded import float_network, rounded_network
from parckit.networks.segmenter import Segmenter
from parckit.networks.transfer import copy_weights

__all__ = [
    "HEADS",
    "NETWORK_PREFIX",
    "OFFICIAL_HEADS",
    "RCNN",
    "FakeQuantizer",
    "FakeQuantizers",
    "Head",
    "Segmenter",
    "add_digest",
    "add_quantizers",
    "backbone_of",
    "build_network",
    "calibrate",
    "check_input",
    "copy_weights",
    "create_detector",
    "create_segmenter",
    "damage_named",
    "find_quantizers",
    "float_network",
    "has_quantizers",
    "head_of",
    "load_official_network",
    "names_checkpoint",
    "open_checkpoint",
    "place_quantizers",
    "prepare_quantization",
    "read_training",
    "rounded_network",
    "save_weights",
]
