"""What every room may share: dataclasses of the standard library, file layouts and errors."""

from parckit.contract.artefact import (
    Artefact,
    Calibration,
    Check,
    DecoderSpec,
    DecodingOption,
    InputSpec,
    OutputSpec,
    Precision,
    Setting,
    begin_with_batch,
    image_groups,
)
from parckit.contract.bundle import (
    CONTRACT_FILE,
    Contract,
    add_artefact,
    place_artefact,
    read_contract,
    sha256_of,
    write_contract,
)
from parckit.contract.errors import SIGNAL_BASE, InputError, MissingExtraError, ParckitError, last_message
from parckit.contract.files import (
    DISK_ERRORS,
    check_folder,
    check_place,
    check_target,
    find_leftovers,
    find_obstacle,
    naming_full_disk,
    remove_leftovers,
    removing_new_folders,
    replacing,
)
from parckit.contract.labels import MOST_CLASSES, parse_labels, read_class_names
from parckit.contract.limits import PIXELS_VARIABLE, most_pixels
from parckit.contract.metadata import read_artefact_metadata, write_artefact_metadata
from parckit.contract.plain import ADDED_LATER, from_plain, to_plain
from parckit.contract.preprocessing import LONGEST_SIDE, ChannelOrder, Fit, Interpolation, Preprocessing
from parckit.contract.printing import printable, reading, shorten_message, tell_warnings
from parckit.contract.run_files import AVERAGE, BEST, CONFIG, LAST, LOGS, METRICS, PREVIOUS, TRACKED
from parckit.contract.schema1 import is_schema1_spec
from parckit.contract.shipped import shipped_weights
from parckit.contract.spec import CLASSIFIER, SPEC_KEY, NetworkSpec, Task, check_label_encoding
from parckit.contract.version import VERSION

__all__ = [
    "ADDED_LATER",
    "AVERAGE",
    "BEST",
    "CLASSIFIER",
    "CONFIG",
    "CONTRACT_FILE",
    "DISK_ERRORS",
    "LAST",
    "LOGS",
    "LONGEST_SIDE",
    "METRICS",
    "MOST_CLASSES",
    "PIXELS_VARIABLE",
    "PREVIOUS",
    "SIGNAL_BASE",
    "SPEC_KEY",
    "TRACKED",
    "VERSION",
    "Artefact",
    "Calibration",
    "ChannelOrder",
    "Check",
    "Contract",
    "DecoderSpec",
    "DecodingOption",
    "Fit",
    "InputError",
    "InputSpec",
    "Interpolation",
    "MissingExtraError",
    "NetworkSpec",
    "OutputSpec",
    "ParckitError",
    "Precision",
    "Preprocessing",
    "Setting",
    "Task",
    "add_artefact",
    "begin_with_batch",
    "check_folder",
    "check_label_encoding",
    "check_place",
    "check_target",
    "find_leftovers",
    "find_obstacle",
    "from_plain",
    "image_groups",
    "is_schema1_spec",
    "last_message",
    "most_pixels",
    "naming_full_disk",
    "parse_labels",
    "place_artefact",
    "printable",
    "read_artefact_metadata",
    "read_class_names",
    "read_contract",
    "reading",
    "remove_leftovers",
    "removing_new_folders",
    "replacing",
    "sha256_of",
    "shipped_weights",
    "shorten_message",
    "tell_warnings",
    "to_plain",
    "write_artefact_metadata",
    "write_contract",
]
