"""Writing files so that no partial file is left behind."""

import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from parckit.contract.errors import InputError

_LEFTOVER = re.compile(r"\.(.+)~\d+-[0-9a-f]{8}\.(?:tmp|old)", re.DOTALL)


@contextmanager
def replacing(target: Path) -> Generator[Path, None, None]:
    """Yield a temporary path beside `target`. Rename it to `target` on success; remove it on failure.

    The body may create a file or a folder at the temporary path. A folder at `target` is replaced as a whole.

    Raises:
        InputError: if the target is the working folder or contains it. Programs in it would lose it.
        OSError: if the folder cannot be written.
    """
    if target.is_dir() and target.resolve() in (here := Path.cwd(), *here.parents):
        raise InputError(f"{target}: is or contains the working folder; name another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unique(target, ending="tmp")
    try:
        yield temporary
        _put(temporary, target)
    except OSError as error:
        if error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        _remove(temporary)


def find_leftovers(folder: Path, *, names: str) -> set[Path]:
    """Return the temporary files and folders of `replacing` in a folder.

    Killed processes left them there, or other processes write them now. New content ends in `.tmp`. Former content that
    was being replaced ends in `.old`.

    Args:
        folder: the folder of the targets.
        names: names of the targets, a regular expression.
    """
    candidates = ((path, _LEFTOVER.fullmatch(path.name)) for path in folder.glob(".*~*"))
    return {path for path, match in candidates if match and re.fullmatch(names, match[1])}


def remove_leftovers(folder: Path, *, names: str) -> None:
    """Remove what `find_leftovers` returns. No other process may write to the folder."""
    for path in find_leftovers(folder, names=names):
        _remove(path)


def _unique(target: Path, *, ending: str) -> Path:
    # The process number is not enough: processes on other machines and in containers may have the same one.
    return target.with_name(f".{target.name}~{os.getpid()}-{uuid4().hex[:8]}.{ending}")


def _put(temporary: Path, target: Path) -> None:
    """Rename. A folder at the target is moved aside first, and moved back if the renaming fails."""
    if not (temporary.is_dir() and target.exists()):
        temporary.replace(target)
        return
    aside = _unique(target, ending="old")
    target.replace(aside)
    try:
        temporary.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
