"""The bundle: a folder with `model.onnx` and the `contract.json` that says all a runtime must know to use it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from parckit.contract.errors import InputError
from parckit.contract.files import replacing
from parckit.contract.spec import ModelSpec

CONTRACT_FILE = "contract.json"
MODEL_FILE = "model.onnx"
SCHEMA = 1
"""Version of contract.json's layout; readers refuse any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """Name, element type, layout and static shape of a graph input or output."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the artefact's outputs were found from the float32 torch model's, and how far they may be.

    Attributes:
        max_abs: largest absolute difference seen over `images` inputs.
        tolerance: largest difference accepted: `atol + rtol * max|torch|`.
        images: number of inputs compared.
        runtime: engine and version that was compared.
    """

    max_abs: float
    tolerance: float
    images: int
    runtime: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """Everything `contract.json` holds.

    Attributes:
        task: `"classify"`.
        spec: model name and keywords, labels, preprocessing (its size is the graph's).
        input: the graph's only input; NCHW float32.
        outputs: the graph's outputs, in order.
        opset: ONNX operator set of `model.onnx`.
        ir_version: ONNX IR version of `model.onnx`.
        params: learned parameters of the unfused model.
        madds: multiply-adds of one image, convolution form, all taps.
        parity: what the export's check found.
        peak_memory_bytes: growth of a fresh process's resident memory by loading the model and one run of the graph.
        versions: package -> version at export.
        sha256: file name -> digest, of every other file of the bundle.
    """

    task: str
    spec: ModelSpec
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    opset: int
    ir_version: int
    params: int
    madds: int
    parity: Parity
    peak_memory_bytes: int
    versions: Mapping[str, str]
    sha256: Mapping[str, str]


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_contract(contract: Contract, folder: Path) -> None:
    """Write `contract.json` into the bundle `folder`, whole or not at all."""
    plain = asdict(contract) | {"schema": SCHEMA, "spec": contract.spec.to_dict()}
    with replacing(folder / CONTRACT_FILE) as temporary:
        temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def read_contract(folder: Path) -> Contract:
    """Read a bundle's contract and check that its files are the ones it was written for.

    Raises:
        InputError: if the folder is no bundle, has another schema, or a file is missing or was changed.
    """
    path = folder / CONTRACT_FILE
    if not path.is_file():
        raise InputError(f"{folder}: no bundle ({CONTRACT_FILE} is missing)")
    try:
        contract = _decode(json.loads(path.read_text(encoding="utf-8")))
        _check(contract)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a contract of schema {SCHEMA}: {error}") from error
    for name, digest in contract.sha256.items():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{file}: missing, though {CONTRACT_FILE} lists it")
        if sha256_of(file) != digest:
            raise InputError(f"{file}: its content is not what {CONTRACT_FILE} was written for (sha256 differs)")
    return contract


def _check(contract: Contract) -> None:
    """Refuse what contradicts itself: whoever edits a contract by hand must not get silent nonsense."""
    if MODEL_FILE not in contract.sha256:
        raise ValueError(f"sha256 does not list {MODEL_FILE}")
    if len(contract.outputs) != 1 or len(contract.outputs[0].shape) != 2:
        raise ValueError("one output of logits, (B, classes), is expected")
    labels, classes = len(contract.spec.labels), contract.outputs[0].shape[1]
    if labels != classes:
        raise ValueError(f"{labels} labels for {classes} outputs")
    if contract.input.shape[2:] != contract.spec.preprocessing.size:
        raise ValueError(f"preprocessing to {contract.spec.preprocessing.size} for input {contract.input.shape}")


def _decode(data: object) -> Contract:
    if not isinstance(data, dict):
        raise TypeError("not an object")
    data = cast("dict[str, object]", data)
    if data.pop("schema", None) != SCHEMA:
        raise ValueError("unknown schema")
    data["spec"] = ModelSpec.from_dict(cast("dict[str, object]", data["spec"]))
    data["input"] = _decode_tensor(data["input"])
    data["outputs"] = tuple(_decode_tensor(item) for item in cast("list[object]", data["outputs"]))
    data["parity"] = Parity(**cast("dict[str, object]", data["parity"]))  # pyright: ignore[reportArgumentType]
    return Contract(**data)  # pyright: ignore[reportArgumentType]


def _decode_tensor(data: object) -> TensorSpec:
    plain = cast("dict[str, object]", data)
    return TensorSpec(**(plain | {"shape": tuple(cast("list[int]", plain["shape"]))}))  # pyright: ignore[reportArgumentType]
