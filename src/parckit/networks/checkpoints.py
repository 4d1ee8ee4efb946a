"""The two kinds of checkpoint: Lightning's `.ckpt` with the state of training, and `.safetensors` with weights only."""

import hashlib
import json
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from zipfile import ZipFile

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from parckit.contract import SPEC_KEY, InputError, NetworkSpec, is_schema1_spec, replacing, shipped_weights
from parckit.models import compare_keys, describe_faults
from parckit.networks.build import build_network

NETWORK_PREFIX = "model."
"""Prefix of the network's keys in the state dict of a LightningModule of `parckit.tasks`."""

_DIGEST_KEY = "parckit_sha256"
"""Key of the digest of spec and weights in a `.ckpt` file, and in the metadata of a `.safetensors` file."""

_SUFFIXES = (".ckpt", ".safetensors")


def names_checkpoint(name: str) -> bool:
    """Return whether a name is a checkpoint for `open_checkpoint`, not the name of a model."""
    return name.lower().endswith(_SUFFIXES) or shipped_weights(name) is not None


def open_checkpoint(path: Path) -> tuple[nn.Module, NetworkSpec]:
    """Build the network that a checkpoint was saved from, with its weights, in eval mode on the CPU.

    `path` may also be the name of weights that come with the package, such as `parcnet_xs.cifar10`. A file of that name
    comes first. No code in a file is executed: `.ckpt` is read with `weights_only=True`.

    Raises:
        InputError: if the file is missing, damaged or not a parckit checkpoint, or if its weights do not fit its
            network or are not finite.
    """
    if not path.is_file():
        path = shipped_weights(str(path)) or path
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path}: not a checkpoint; its name must end in one of {_SUFFIXES}")
    with damage_named(path):
        spec, weights = _read_lightning(path) if path.suffix.lower() == ".ckpt" else _read_safetensors(path)
    network = build_network(spec)
    if faults := compare_keys(network.state_dict(), weights):
        raise InputError(f"{path}: its weights do not fit its network ({describe_faults(faults)})")
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise InputError(f"{path}: weight {name!r} has values that are not finite numbers")
    network.load_state_dict(weights)
    return network.eval(), spec


def read_training(path: Path) -> tuple[NetworkSpec, dict[str, object]]:
    """Return the spec and the whole content of a `.ckpt` file of `parckit train`, tensors on the CPU.

    No code in the file is executed: it is read with `weights_only=True`.

    Raises:
        InputError: if the file is missing, damaged, not written by `parckit train`, or changed after that.
    """
    with damage_named(path), warnings.catch_warnings():
        # torch warns about pickle files that it did not write. They are refused anyway, by torch or below.
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        _check_sums(path)
        checkpoint: object = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or SPEC_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise InputError(f"{path}: not written by `parckit train` (it lacks {SPEC_KEY!r} or 'state_dict')")
    content = cast("dict[str, object]", checkpoint)
    spec = _decode_spec(content[SPEC_KEY], path)
    with damage_named(path):
        _check_digest(path, content.get(_DIGEST_KEY), _digest_of_training(content), spec=content[SPEC_KEY])
    return spec, content


def add_digest(checkpoint: dict[str, object]) -> None:
    """Add the digest of spec and weights to the content of a `.ckpt` file. `read_training` compares it."""
    checkpoint[_DIGEST_KEY] = _digest_of_training(checkpoint)


def save_weights(network: nn.Module, spec: NetworkSpec, path: Path) -> None:
    """Write the weights and the spec to a `.safetensors` file; if writing fails, no partial file is left.

    Raises:
        InputError: if `path` has another suffix.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: the name of a weights file must end in '.safetensors'")
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    # `save_file` of safetensors makes files that other users may not read, so the bytes are written here.
    with replacing(path) as temporary:
        description = json.dumps(spec.to_dict())
        metadata = {SPEC_KEY: description, _DIGEST_KEY: _digest_of(weights, description)}
        temporary.write_bytes(save(weights, metadata=metadata))


@contextmanager
def damage_named(path: Path) -> Generator[None]:
    """Turn every error of the body, which reads the file, into an `InputError` that names the file.

    Raises:
        InputError: if there is no such file, or if the body fails.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        yield
    except InputError:
        raise
    # A damaged file can make torch raise almost any error: KeyError, EOFError, ...
    except Exception as error:
        reason = "damaged, or it holds objects other than tensors and plain values"
        raise InputError(f"{path}: {reason} ({type(error).__name__})") from error


def _read_lightning(path: Path) -> tuple[NetworkSpec, dict[str, Tensor]]:
    spec, checkpoint = read_training(path)
    state = cast("dict[str, Tensor]", checkpoint["state_dict"])
    weights = {
        key.removeprefix(NETWORK_PREFIX): value for key, value in state.items() if key.startswith(NETWORK_PREFIX)
    }
    for key, value in weights.items():
        if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - the file may hold anything
            raise InputError(f"{path}: weight {key!r} is no tensor")
    return spec, weights


def _read_safetensors(path: Path) -> tuple[NetworkSpec, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata: Mapping[str, str] = file.metadata() or {}
        if SPEC_KEY not in metadata:
            raise InputError(f"{path}: not written by parckit (its metadata lacks {SPEC_KEY!r})")
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # file is not a mapping
    description: object = json.loads(metadata[SPEC_KEY])
    _check_digest(path, metadata.get(_DIGEST_KEY), _digest_of(weights, metadata[SPEC_KEY]), spec=description)
    return _decode_spec(description, path), weights


def _check_digest(path: Path, stored: object, actual: str, *, spec: object) -> None:
    """Compare the digest in a file with that of its content. Only parckit 0.1.0 wrote none.

    Raises:
        InputError: if the file was changed.
    """
    if stored != actual and not (stored is None and is_schema1_spec(spec)):
        problem = "differs" if stored is not None else "is missing"
        raise InputError(f"{path}: it was changed after parckit wrote it (sha256 {problem})")


def _check_sums(path: Path) -> None:
    """Compare the parts of a `.ckpt` with their checksums. torch writes a zip archive, but does not check it.

    Raises:
        InputError: if a part was changed.
    """
    with ZipFile(path) as archive:
        if (changed := archive.testzip()) is not None:
            raise InputError(f"{path}: damaged: the checksum of {changed!r} in it differs")


def _digest_of_training(checkpoint: Mapping[str, object]) -> str:
    state = checkpoint["state_dict"]
    weights = cast("Mapping[str, object]", state) if isinstance(state, Mapping) else {}
    tensors = {name: weight for name, weight in weights.items() if isinstance(weight, Tensor)}
    return _digest_of(tensors, json.dumps(checkpoint.get(SPEC_KEY), default=str))


def _digest_of(weights: Mapping[str, Tensor], description: str) -> str:
    """Return the SHA-256 digest of the spec, and of the weights' names, types, shapes and values."""
    digest = hashlib.sha256(description.encode())
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _decode_spec(data: object, path: Path) -> NetworkSpec:
    try:
        return NetworkSpec.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
