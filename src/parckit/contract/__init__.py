"""What every room may share: dataclasses of the standard library, file layouts and errors."""

from parckit.contract.artefact import (
    Artefact,
    Calibration,
    Check,
    DecoderSpec,
    ElementType,
    InputSpec,
    Layout,
    OutputSpec,
    Precision,
)
from parckit.contract.bundle import (
    CONTRACT_FILE,
    SCHEMA,
    Contract,
    add_artefact,
    decode_contract,
    place_artefact,
    read_contract,
    sha256_of,
    write_contract,
)
from parckit.contract.errors import InputError, MissingExtraError, ParckitError
from parckit.contract.files import find_leftovers, remove_leftovers, replacing
from parckit.contract.metadata import read_artefact_metadata, write_artefact_metadata
from parckit.contract.plain import ADDED_LATER, from_plain, to_plain
from parckit.contract.preprocessing import ChannelOrder, Fit, Interpolation, Preprocessing
from parckit.contract.run_files import AVERAGE, BEST, CONFIG, LAST, LOGS, METRICS, PREVIOUS, TRACKED
from parckit.contract.shipped import shipped_weights
from parckit.contract.spec import SPEC_KEY, NetworkSpec, Task
from parckit.contract.version import VERSION

__all__ = [
    "ADDED_LATER",
    "AVERAGE",
    "BEST",
    "CONFIG",
    "CONTRACT_FILE",
    "LAST",
    "LOGS",
    "METRICS",
    "PREVIOUS",
    "SCHEMA",
    "SPEC_KEY",
    "TRACKED",
    "VERSION",
    "Artefact",
    "Calibration",
    "ChannelOrder",
    "Check",
    "Contract",
    "DecoderSpec",
    "ElementType",
    "Fit",
    "InputError",
    "InputSpec",
    "Interpolation",
    "Layout",
    "MissingExtraError",
    "NetworkSpec",
    "OutputSpec",
    "ParckitError",
    "Precision",
    "Preprocessing",
    "Task",
    "add_artefact",
    "decode_contract",
    "find_leftovers",
    "from_plain",
    "place_artefact",
    "read_artefact_metadata",
    "read_contract",
    "remove_leftovers",
    "replacing",
    "sha256_of",
    "shipped_weights",
    "to_plain",
    "write_artefact_metadata",
    "write_contract",
]
