"""What every room may share: plain standard-library dataclasses, JSON forms and the error of user mistakes."""

from parckit.contract.bundle import (
    CONTRACT_FILE,
    MODEL_FILE,
    SCHEMA,
    Contract,
    Parity,
    TensorSpec,
    read_contract,
    sha256_of,
    write_contract,
)
from parckit.contract.errors import (
    DivergedError,
    ExportError,
    InputError,
    LostProcessError,
    ParityError,
    TerminatedError,
)
from parckit.contract.files import find_leftovers, remove_leftovers, replacing
from parckit.contract.preprocessing import Preprocessing
from parckit.contract.spec import SPEC_KEY, ModelSpec

__all__ = [
    "CONTRACT_FILE",
    "MODEL_FILE",
    "SCHEMA",
    "SPEC_KEY",
    "Contract",
    "DivergedError",
    "ExportError",
    "InputError",
    "LostProcessError",
    "ModelSpec",
    "Parity",
    "ParityError",
    "Preprocessing",
    "TensorSpec",
    "TerminatedError",
    "find_leftovers",
    "read_contract",
    "remove_leftovers",
    "replacing",
    "sha256_of",
    "write_contract",
]
