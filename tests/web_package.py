"""A small file that counts as the package of ONNX Runtime Web."""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from parckit.serve import page_engine

FILES = {name: f"content of {name}".encode() for name in page_engine._FILES}


def write_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the package, and let parckit accept it in place of the pinned one."""
    with tarfile.open(path, mode="w:gz") as archive:
        for name, data in {**FILES, "ort.all.js": b"not needed"}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    monkeypatch.setattr(page_engine, "_SHA512", digest)
    return path
