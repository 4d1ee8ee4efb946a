"""Reading tar files that strangers wrote, in bounded memory and time.

A tar header can declare any size, also a negative one, and `tarfile` believes it. A few kilobytes of gzip can hold
gigabytes. Both are refused here.
"""

import gzip
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from parckit.contract import replacing

_LONGEST_READ = 1 << 16
"""Bytes. `tarfile` reads long names and other extensions of a header at once; they are shorter than this."""

LARGEST_MEMBER = 512 << 20
"""Bytes of the largest file in a shard that is read."""

_UNPACKED = 1 << 30
_RATIO = 100
"""A compressed shard may unpack to 1 GiB, or to 100 times its size. Pictures hardly become smaller with gzip; tar
headers and tiny pictures become up to 20 times smaller, zeros 1,000 times."""

_CHUNK = 1 << 20


class _BoundedReader:
    """A file that refuses to read much at once, so that no header makes `tarfile` fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError(f"a header declares {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


@contextmanager
def open_tar(path: Path) -> Generator[tarfile.TarFile]:
    """Open an uncompressed tar. At the end, all members having been read, it is refused without its end mark.

    Raises:
        tarfile.TarError: if it is broken.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        # tarfile needs no more of a file than these methods.
        reader = cast("BinaryIO", _BoundedReader(file))
        with tarfile.open(fileobj=reader, mode="r:") as archive:
            yield archive
            require_end(path, at=archive.offset)


def regular_members(archive: tarfile.TarFile, *, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an archive.

    Args:
        archive: the archive.
        size: its size, bytes.

    Raises:
        tarfile.ReadError: if a member declares an impossible size, or is a sparse file, whose bytes lie apart.
    """
    for member in archive:
        # A negative size would lead tarfile back to where it was, without end.
        if member.size < 0 or (member.isreg() and member.offset_data + member.size > size and not member.issparse()):
            raise tarfile.ReadError(f"{member.name!r:.80} declares {member.size} bytes, more than the tar has")
        if member.issparse() or member.size > LARGEST_MEMBER:
            kind = "is a sparse file" if member.issparse() else f"has {member.size} bytes"
            raise tarfile.ReadError(f"{member.name!r:.80} {kind}; at most {LARGEST_MEMBER} bytes are read")
        if member.isreg():
            yield member


def require_end(path: Path, *, at: int) -> None:
    """Refuse a tar without its end mark. Python does not notice that a tar was cut between two members.

    Args:
        path: the tar.
        at: where the last member ends, bytes. It is the archive's `offset` after all members have been read.

    Raises:
        tarfile.ReadError: if the end mark is missing.
    """
    with path.open("rb") as file:
        file.seek(at)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("cut: the tar's end mark is missing")


def unpack(packed: Path, copy: Path) -> None:
    """Unpack a gzip file. Nothing stays if it is broken or unpacks to far more than pictures do.

    Raises:
        tarfile.ReadError: if the file is broken or a bomb.
        OSError: if it cannot be read, or the copy cannot be written.
    """
    most = max(_UNPACKED, _RATIO * packed.stat().st_size)
    try:
        with replacing(copy) as temporary, gzip.open(packed) as source, temporary.open("wb") as plain:
            while plain.tell() <= most and (chunk := source.read(_CHUNK)):
                plain.write(chunk)
            if plain.tell() > most:
                raise tarfile.ReadError(f"unpacks to more than {most} bytes")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise tarfile.ReadError(str(error)) from error
