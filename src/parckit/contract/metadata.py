"""The description of an artefact inside its own file, for formats that have room for one, such as ONNX.

It makes the file usable without its bundle.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from parckit.contract.artefact import Artefact
from parckit.contract.bundle import check_described
from parckit.contract.errors import InputError
from parckit.contract.plain import from_plain, to_plain
from parckit.contract.spec import SPEC_KEY, NetworkSpec

_ARTEFACT_KEY = "parckit_artefact"
_DIGEST_KEY = "parckit_sha256"
_NOT_IN_THE_FILE = ("files", "checks")
"""Fields of an artefact that are known only after its file is written."""


def write_artefact_metadata(spec: NetworkSpec, artefact: Artefact) -> dict[str, str]:
    """Return the entries, by key, that a file must carry."""
    facts = {name: value for name, value in to_plain(artefact).items() if name not in _NOT_IN_THE_FILE}
    entries = {SPEC_KEY: json.dumps(spec.to_dict()), _ARTEFACT_KEY: json.dumps(facts)}
    return {**entries, _DIGEST_KEY: _digest_of(entries)}


def read_artefact_metadata(metadata: Mapping[str, str], path: Path) -> tuple[NetworkSpec, Artefact]:
    """Rebuild what `write_artefact_metadata` described.

    Args:
        metadata: the entries of a file.
        path: the file.

    Raises:
        InputError: if the file was not written by parckit, or its entries are damaged or contradict each other.
    """
    for key in (SPEC_KEY, _ARTEFACT_KEY, _DIGEST_KEY):
        if key not in metadata:
            raise InputError(f"{path}: not written by parckit (its metadata lacks {key!r})")
    if metadata[_DIGEST_KEY] != _digest_of(metadata):
        raise InputError(f"{path}: its description was changed after parckit wrote it (sha256 differs)")
    try:
        spec = NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY]))
        facts = json.loads(metadata[_ARTEFACT_KEY])
        if isinstance(facts, dict):
            facts = {**facts, "files": {path.name: ""}, "checks": []}
        artefact = from_plain(Artefact, facts, name="artefact")
        check_described(artefact, spec)
    except ValueError as error:  # InputError and JSON's errors are ValueErrors
        raise InputError(f"{path}: the description in its metadata is damaged: {error}") from error
    return spec, artefact


def _digest_of(metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 digest of the description. It does not cover the graph; a bundle's contract does."""
    return hashlib.sha256((metadata[SPEC_KEY] + metadata[_ARTEFACT_KEY]).encode()).hexdigest()
