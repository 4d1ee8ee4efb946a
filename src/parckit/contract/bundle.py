"""The bundle: a folder of artefacts, one subfolder each, and the `contract.json` that says how to use them.

A bundle with one artefact holds `contract.json` and `onnx-fp32/model.onnx`.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import cast

from parckit.contract.artefact import Artefact
from parckit.contract.errors import InputError
from parckit.contract.files import remove_leftovers, replacing
from parckit.contract.plain import ADDED_LATER, from_plain, to_plain
from parckit.contract.schema1 import contract_from_schema1
from parckit.contract.spec import CLASSIFIER, NetworkSpec

CONTRACT_FILE = "contract.json"
SCHEMA = 2
"""Version of contract.json's layout. Schema 1 is translated; readers refuse any other."""
_BLOCK = 1 << 20
"""Bytes of a file that are hashed at once."""
_DIGEST = "sha256"
"""Key of the digest of everything else in contract.json.

A contract that was edited by hand must not be trusted: a wrong mean changes the answers, and nobody notices.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """Everything that `contract.json` holds.

    Attributes:
        spec: the network.
        artefacts: its forms, in the order in which they were added.
        params: learned parameters of the unfused network.
        madds: multiply-adds of one image, convolution form, all taps.
        versions: package -> version at export.
        origin: where the weights come from: `weights`, the name of the checkpoint's file or of weights that ship with
            parckit, and `sha256`, the digest of the file. Empty if nobody noted it.
    """

    spec: NetworkSpec
    artefacts: tuple[Artefact, ...]
    params: int
    madds: int
    versions: Mapping[str, str]
    origin: Mapping[str, str] = field(default_factory=dict[str, str], metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        names = [artefact.name for artefact in self.artefacts]
        if not names or len(set(names)) != len(names):
            raise InputError(f"artefacts {names}: need one or more, each with a name of its own")
        for artefact in self.artefacts:
            check_described(artefact, self.spec)

    def artefact(self, name: str) -> Artefact:
        """Return the artefact of a name.

        Raises:
            InputError: if there is none.
        """
        for artefact in self.artefacts:
            if artefact.name == name:
                return artefact
        raise InputError(f"artefact={name!r}: the bundle has {', '.join(entry.name for entry in self.artefacts)}")

    def spec_of(self, artefact: Artefact) -> NetworkSpec:
        """Return the network at the size of an artefact's input."""
        return self.spec if artefact.input.size is None else self.spec.with_size(artefact.input.size)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_contract(contract: Contract, folder: Path) -> None:
    """Write `contract.json` into the bundle `folder`, whole or not at all."""
    with replacing(folder / CONTRACT_FILE) as temporary:
        plain = {"schema": SCHEMA, **to_plain(contract)}
        text = json.dumps({**plain, _DIGEST: _digest_of(plain)}, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def add_artefact(folder: Path, artefact: Artefact, *, made_in: Path) -> Contract:
    """Add an artefact to a bundle, or replace the one of its name, in one step: `contract.json` is written last.

    A process that is killed before the end leaves a bundle that can be read: the one from before, or the new one. It
    may also leave half-written files, which the next call removes, or a subfolder that no contract lists. Only one
    process may change a bundle at a time.

    Args:
        folder: the bundle.
        artefact: its files are named as in `made_in`.
        made_in: folder with the files. The files that the artefact lists are copied into a new subfolder of the bundle.

    Raises:
        InputError: if `folder` is no bundle, or a file of the artefact is missing or is another one.
    """
    remove_leftovers(folder, names=".+")
    former = read_contract(folder)
    listed = place_artefact(artefact, made_in=made_in, bundle=folder)
    # A replaced artefact keeps its place, because readers that may choose take the first one.
    artefacts = {entry.name: entry for entry in former.artefacts} | {artefact.name: listed}
    contract = replace(former, artefacts=tuple(artefacts.values()))
    write_contract(contract, folder)
    _remove_unlisted(folder, former, contract)
    return contract


def place_artefact(artefact: Artefact, *, made_in: Path, bundle: Path) -> Artefact:
    """Copy an artefact's files into a new subfolder of a bundle, without a change of its contract.

    Args:
        artefact: its files are named as in `made_in`.
        made_in: folder with the files.
        bundle: the bundle's folder.

    Returns:
        The artefact with its files named as in the bundle.

    Raises:
        InputError: if a file of the artefact is missing or is another one.
    """
    for file, digest in artefact.files.items():
        if not (made_in / file).is_file() or sha256_of(made_in / file) != digest:
            raise InputError(f"artefact {artefact.name!r}: {made_in / file} is missing, or not the file it names")
    names = (artefact.name if number == 1 else f"{artefact.name}-{number}" for number in count(1))
    subfolder = next(name for name in names if not (bundle / name).exists())
    with replacing(bundle / subfolder) as temporary:
        for file in artefact.files:
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made_in / file, temporary / file)
    return replace(artefact, files={f"{subfolder}/{file}": digest for file, digest in artefact.files.items()})


def _remove_unlisted(folder: Path, former: Contract, contract: Contract) -> None:
    """Remove the files that only the former contract lists, and the subfolders that they leave empty."""
    before, now = ({file for entry in either.artefacts for file in entry.files} for either in (former, contract))
    for file in before - now:
        (folder / file).unlink(missing_ok=True)
        for parent in [folder / parent for parent in PurePosixPath(file).parents][:-1]:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


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
        contract = _decode_contract(json.loads(path.read_text(encoding="utf-8")))
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


def _decode_contract(data: object) -> Contract:
    """Rebuild a contract from the JSON that `write_contract` or parckit 0.1.0 wrote.

    Raises:
        InputError: if it is of another schema, it was changed afterwards, or a value is missing, unknown or wrong.
    """
    if not isinstance(data, dict):
        raise InputError("holds no JSON object")
    plain = dict(cast("dict[str, object]", data))
    schema = plain.get("schema")
    if schema not in (1, SCHEMA):
        raise InputError(f"schema {schema!r} is unknown; known are 1 and {SCHEMA}")
    # parckit 0.1.0 wrote no digest.
    if schema == SCHEMA and plain.pop(_DIGEST, None) != _digest_of(plain):
        raise InputError("it was changed after parckit wrote it (sha256 differs); export the network again")
    del plain["schema"]
    return from_plain(Contract, contract_from_schema1(plain) if schema == 1 else plain, name="contract")


def _digest_of(plain: Mapping[str, object]) -> str:
    """Return the SHA-256 digest of a contract's values; white space in the file does not count."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_described(artefact: Artefact, spec: NetworkSpec) -> None:
    """Check that an artefact takes the images, and gives the outputs, that its network's description says.

    A classifier has as many outputs as labels, for one class a picture or several. The outputs of other heads differ.

    Raises:
        InputError: if it does not.
    """
    if artefact.input.channels != spec.preprocessing.channels:
        order = f"channel_order={spec.preprocessing.channel_order!r}"
        raise InputError(f"artefact {artefact.name!r}: takes {artefact.input.channels} channels, which is not {order}")
    if spec.head != CLASSIFIER:
        return
    (output, *others) = artefact.outputs
    if others or len(output.shape) != 2:
        raise InputError(f"artefact {artefact.name!r}: a classifier has one output, (B, classes)")
    if output.shape[1] != len(spec.labels):
        raise InputError(f"artefact {artefact.name!r}: {output.shape[1]} outputs for {len(spec.labels)} labels")
