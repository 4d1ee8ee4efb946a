"""Fixtures that make pictures, folders and shards."""

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from box_files import BCCD
from parckit.contract import InputError
from parckit.data import Batch

MakePicture = Callable[..., Image.Image]
MakeFolder = Callable[..., Path]
MakeShard = Callable[..., Path]
Failure = Callable[[DataLoader[Batch]], str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep unpacked shards out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "parckit" / "shards"


@pytest.fixture
def failure() -> Failure:
    def run(loader: DataLoader[Batch]) -> str:
        """Return the last line of the error that loading raises."""
        try:
            list(loader)
        except InputError as error:
            # An error keeps a loader's workers alive through a reference cycle. If the garbage collector frees them
            # later, torch waits 5 seconds for every worker, so break the cycle here.
            error.__traceback__ = None
            return str(error).strip().splitlines()[-1]
        pytest.fail("no InputError was raised")

    return run


@pytest.fixture
def picture() -> MakePicture:
    def make(seed: int = 0, *, height: int = 8, width: int = 10) -> Image.Image:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))

    return make


@pytest.fixture
def image_folder(tmp_path: Path, picture: MakePicture) -> MakeFolder:
    def make(counts: dict[str, int], *, root: str = "images") -> Path:
        """Write `counts[folder]` PNG files into each folder under `root`."""
        for seed, (folder, count) in enumerate(counts.items()):
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture(100 * seed + number).save(tmp_path / root / folder / f"{number:03}.png")
        return tmp_path / root

    return make


@pytest.fixture
def shard(tmp_path: Path, picture: MakePicture) -> MakeShard:
    def make(name: str, targets: list[int], *, extra: dict[str, bytes] | None = None) -> Path:
        """Write a shard with one random PNG of each target, then the `extra` files."""
        files: dict[str, bytes] = {}
        for number, target in enumerate(targets):
            stream = io.BytesIO()
            picture(number).save(stream, "PNG")
            files |= {f"{number:05}.png": stream.getvalue(), f"{number:05}.cls": str(target).encode()}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file, data in (files | (extra or {})).items():
                member = tarfile.TarInfo(file)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        path = tmp_path / "shards" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(packed.getvalue()) if name.endswith("gz") else packed.getvalue())
        return path

    return make


@pytest.fixture(scope="session")
def bccd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the BCCD data: Pascal VOC and COCO files of the same pictures."""
    folder = tmp_path_factory.mktemp("bccd")
    shutil.unpack_archive(BCCD, folder)
    return folder
