"""Which pictures and videos a command line means: files, folders, patterns and lists."""

import codecs
import os
import sys
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from parckit.contract import InputError
from parckit.processing import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, list_images

HELP = "pictures, videos, folders of them, patterns such as 'photos/*.jpg', or @LIST: a file with one of these per line"


def find_pictures(names: Sequence[str]) -> list[Path]:
    """Return the files of pictures and videos that arguments name, in the order of the arguments.

    Args:
        names: a file; a folder, which stands for its images and videos and those of its subfolders; a pattern with
            `*`, `?`, `[]` or `**`; or `@LIST`, a text file with a file, folder or pattern in every line. `@-` reads the
            list from standard input. A name that begins with `@` can be written as `./@name`.

    Raises:
        InputError: if a folder holds no images, a pattern matches nothing or a list is empty. A missing file is no
            error here: the others can still be answered.
    """
    return [path for name in names for path in (_listed(name) if name.startswith("@") else _named(name))]


def _named(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return _inside(path)
    if path.exists() or not has_magic(name):
        return [path]
    matching = [Path(match) for match in sorted(glob(name, recursive=True))]  # noqa: PTH207  # Path.glob refuses absolute ones
    if not matching:
        raise InputError(f"{name}: matches no file")
    return [file for match in matching for file in (_inside(match) if match.is_dir() else [match])]


def _inside(folder: Path) -> list[Path]:
    return list_images(folder, endings=(*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS))


def _listed(name: str) -> Iterator[Path]:
    data = sys.stdin.buffer.read() if name == "@-" else Path(name[1:]).read_bytes()
    # Names of files may hold bytes that are not UTF-8.
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    if not any(lines):
        raise InputError(f"{name}: names no picture; a list has one file, folder or pattern per line")
    if any("\0" in line for line in lines):
        raise InputError(f"{name}: is no text file with one name per line")
    for line in filter(None, lines):
        yield from _named(line)
