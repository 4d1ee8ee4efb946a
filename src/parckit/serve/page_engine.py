"""The files of ONNX Runtime Web: those of one version of its npm package, proved by the package's digest."""

import base64
import hashlib
import tarfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from parckit.contract import InputError, cache_folder, replacing

VERSION = "1.30.0"
"""The version that the tests run. Another one has another digest, so change both, and run the tests in a browser."""
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package in base64, as the npm registry publishes it (`integrity`)."""
_FILES = (
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What a page needs of the package's folder `dist`: the code and the engine for WASM, and both for WebGPU."""
PATIENCE = 60
"""Seconds without an answer after which the download ends."""


def cached_package() -> Path:
    """Return where the package is kept: in `$XDG_CACHE_HOME/parckit`, or `~/.cache/parckit` without that variable."""
    return cache_folder() / URL.rpartition("/")[2]


def fetch_package(*, patience: int = PATIENCE) -> Path:
    """Fetch the package from the npm registry into the cache.

    Args:
        patience: seconds without an answer after which the download ends.

    Raises:
        InputError: if it cannot be fetched, or is not the expected one.
    """
    target = cached_package()
    with replacing(target) as temporary:
        try:
            with urlopen(URL, timeout=patience) as answer:
                temporary.write_bytes(answer.read())
        except (OSError, HTTPException) as error:
            elsewhere = "fetch it on another machine and name the file with --ort"
            raise InputError(f"{URL}: cannot be fetched ({error}); {elsewhere}") from error
        check_package(temporary, name=URL)
    return target


def check_package(path: Path, *, name: str) -> None:
    """Check that a file is the package of the expected version.

    Args:
        path: the file.
        name: what an error calls it.

    Raises:
        InputError: if it is missing or has other content.
    """
    if not path.is_file():
        raise InputError(f"{name}: no such file; needed is {URL}")
    if base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode() != _SHA512:
        raise InputError(f"{name}: is not onnxruntime-web {VERSION} (sha512 differs); needed is {URL}")


def unpack_package(package: Path, folder: Path) -> None:
    """Write the files that a page needs into a new folder.

    They are taken in the order of the package: to go back in compressed data is to read it from its beginning again.

    Args:
        package: a checked package.
        folder: the new folder.
    """
    folder.mkdir()
    missing = {f"package/dist/{name}" for name in _FILES}
    with tarfile.open(package) as archive:
        while missing:
            member = archive.next()
            assert member is not None  # noqa: S101 - the digest proves that all files are there
            if member.name in missing:
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101 - and that they are files
                (folder / Path(member.name).name).write_bytes(content.read())
                missing.remove(member.name)
