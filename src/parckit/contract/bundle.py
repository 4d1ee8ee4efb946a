"""The bundle: a folder of artefacts, one subfolder each, and the `contract.json` that says how to use them.

A bundle with one artefact holds `contract.json` and `onnx-fp32/model.onnx`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import cast

from parckit.contract.artefact import Artefact
from parckit.contract.errors import InputError
from parckit.contract.files import replacing
from parckit.contract.plain import from_plain, to_plain
from parckit.contract.schema1 import contract_from_schema1
from parckit.contract.spec import NetworkSpec

CONTRACT_FILE = "contract.json"
SCHEMA = 2
"""Version of contract.json's layout. Schema 1 is translated; readers refuse any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """Everything that `contract.json` holds.

    Attributes:
        spec: the network.
        artefacts: its forms, in the order in which they were added.
        params: learned parameters of the unfused network.
        madds: multiply-adds of one image, convolution form, all taps.
        versions: package -> version at export.
    """

    spec: NetworkSpec
    artefacts: tuple[Artefact, ...]
    params: int
    madds: int
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        names = [artefact.name for artefact in self.artefacts]
        if not names or len(set(names)) != len(names):
            raise InputError(f"artefacts {names}: need one or more, each with a name of its own")
        for artefact in self.artefacts:
            _check_classes(artefact, self.spec)

    def artefact(self, name: str) -> Artefact:
        """Return the artefact of a name.

        Raises:
            InputError: if there is none.
        """
        for artefact in self.artefacts:
            if artefact.name == name:
                return artefact
        raise InputError(f"artefact={name!r}: the bundle has {', '.join(entry.name for entry in self.artefacts)}")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_contract(contract: Contract, folder: Path) -> None:
    """Write `contract.json` into the bundle `folder`, whole or not at all."""
    with replacing(folder / CONTRACT_FILE) as temporary:
        text = json.dumps({"schema": SCHEMA, **to_plain(contract)}, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def add_artefact(folder: Path, artefact: Artefact, *, made_in: Path) -> Contract:
    """Add an artefact to a bundle, or replace the one of its name, in one step: `contract.json` is written last.

    A process that is killed in between leaves a bundle that is whole, and perhaps a subfolder that no contract lists.

    Args:
        folder: the bundle.
        artefact: its files are named as in `made_in`.
        made_in: folder with the files; they are copied into a new subfolder of the bundle.

    Raises:
        InputError: if `folder` is no bundle, or a file of the artefact is missing or is another one.
    """
    contract = read_contract(folder)
    for file, digest in artefact.files.items():
        if not (made_in / file).is_file() or sha256_of(made_in / file) != digest:
            raise InputError(f"artefact {artefact.name!r}: {made_in / file} is missing, or not the file it names")
    names = (artefact.name if number == 1 else f"{artefact.name}-{number}" for number in count(1))
    subfolder = next(name for name in names if not (folder / name).exists())
    with replacing(folder / subfolder) as temporary:
        shutil.copytree(made_in, temporary)
    listed = replace(artefact, files={f"{subfolder}/{file}": digest for file, digest in artefact.files.items()})
    kept = tuple(entry for entry in contract.artefacts if entry.name != artefact.name)
    changed = replace(contract, artefacts=(*kept, listed))
    write_contract(changed, folder)
    # Nothing refers to the files of the replaced artefact any more.
    for replaced in (entry for entry in contract.artefacts if entry.name == artefact.name):
        for file in replaced.files:
            (folder / file).unlink(missing_ok=True)
    return changed


def read_contract(folder: Path, *, check_files: bool = True) -> Contract:
    """Read a bundle's contract and check that its files are the ones it was written for.

    Args:
        folder: the bundle.
        check_files: compare the files' digests; without it the contract alone is read.

    Raises:
        InputError: if the folder is no bundle, has an unknown schema, or a file is missing or was changed.
    """
    path = folder / CONTRACT_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no bundle ({CONTRACT_FILE} is missing)")
    try:
        contract = decode_contract(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: not a contract that this version reads: {reason}") from error
    for artefact in contract.artefacts if check_files else ():
        for name, digest in artefact.files.items():
            file = folder / name
            if not file.is_file():
                raise InputError(f"{file}: missing, though {CONTRACT_FILE} lists it")
            if sha256_of(file) != digest:
                raise InputError(f"{file}: its content is not what {CONTRACT_FILE} was written for (sha256 differs)")
    return contract


def decode_contract(data: object) -> Contract:
    """Rebuild a contract from the JSON that `write_contract` or parckit 0.1.0 wrote.

    Raises:
        InputError: if it is of another schema, or a value is missing, unknown or wrong.
    """
    if not isinstance(data, dict):
        raise InputError("holds no JSON object")
    plain = dict(cast("dict[str, object]", data))
    schema = plain.pop("schema", None)
    if schema == 1:
        plain = contract_from_schema1(plain)
    elif schema != SCHEMA:
        raise InputError(f"schema {schema!r} is unknown; known are 1 and {SCHEMA}")
    return from_plain(Contract, plain, name="contract")


def _check_classes(artefact: Artefact, spec: NetworkSpec) -> None:
    """Refuse a classifier whose labels are not as many as its outputs."""
    if spec.task != "classify":
        return
    (output, *others) = artefact.outputs
    if others or len(output.shape) != 2:
        raise InputError(f"artefact {artefact.name!r}: a classifier has one output, (B, classes)")
    if output.shape[1] != len(spec.labels):
        raise InputError(f"artefact {artefact.name!r}: {output.shape[1]} outputs for {len(spec.labels)} labels")
