"""Writing files so that no partial file is left behind."""

import errno
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

from parckit.contract.errors import InputError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that a write meets."""

_LEFTOVER = re.compile(r"\.(.+)~\d+-[0-9a-f]{8}\.(?:tmp|old)", re.DOTALL)


@contextmanager
def replacing(target: Path) -> Generator[Path, None, None]:
    """Yield a temporary path beside `target`. Rename it to `target` on success; remove it on failure.

    The body may create a file or a folder at the temporary path. A folder at `target` is replaced as a whole. Missing
    folders above `target` are made; on failure they are removed again.

    Raises:
        InputError: if the target is the working folder or contains it. Programs in it would lose it.
        OSError: if the folder cannot be written, or the disk is full; it names the target.
    """
    if target.is_dir() and target.resolve() in (here := Path.cwd(), *here.parents):
        raise InputError(f"{target}: is or contains the working folder; name another folder")
    temporary = _unique(target, ending="tmp")
    with removing_new_folders(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with naming_full_disk(target):
                yield temporary
            _put(temporary, target)
        except OSError as error:
            if (name := _without_temporary(error.filename, temporary, target)) != error.filename:
                raise OSError(error.errno, error.strerror, name) from error
            raise
        finally:
            _remove(temporary)


def cache_folder() -> Path:
    """Return where files are kept that can be made again: `$XDG_CACHE_HOME/parckit`, or `~/.cache/parckit`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "parckit"


@contextmanager
def naming_full_disk(path: Path) -> Generator[None]:
    """Let an error about a full or read-only disk name a path. A write that fails does not know where it writes.

    Raises:
        OSError: if the body raises one.
    """
    try:
        yield
    except OSError as error:
        # A copy names the file that it reads first, and the one that it writes second.
        if error.errno in DISK_ERRORS and (error.filename is None or error.filename2 is not None):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def removing_new_folders(folder: Path) -> Generator[None]:
    """If the body fails, remove `folder` and those above it that did not exist before, as far as they are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def find_obstacle(target: Path) -> str | None:
    """Return why a file or folder cannot be written; None if it can. Nothing is left behind.

    Work that takes long asks this first, so that it does not fail at its end.
    """
    above = next(path for path in target.absolute().parents if path.exists())
    try:
        with TemporaryFile(dir=above):
            return None
    except OSError as error:
        return f"{above}: {error.strerror}"


def check_target(target: Path, *, option: str) -> None:
    """Check that a file can be written, before the work whose result it takes.

    Args:
        target: the file.
        option: what an error calls it, such as `--record`.

    Raises:
        InputError: if it is a folder, or cannot be written.
    """
    if target.is_dir():
        raise InputError(f"{option} {target}: is a folder; name a file")
    check_place(target, option=option)


def check_folder(folder: Path, *, option: str) -> None:
    """Check that files can be written into a folder, which need not exist, before the work that writes them.

    Raises:
        InputError: if it is a file, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{option} {folder}: is a file; name a folder")
    if obstacle := find_obstacle(folder / "file"):
        raise InputError(f"{option} {folder}: cannot be written ({obstacle})")


def check_place(target: Path, *, option: str) -> None:
    """Check that a file or folder can be written, before the work whose result it takes.

    Raises:
        InputError: if not.
    """
    if obstacle := find_obstacle(target):
        raise InputError(f"{option} {target}: cannot be written ({obstacle})")


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


def _without_temporary(name: str | bytes | int | None, temporary: Path, target: Path) -> object:
    """Return the name of a file in an error, with the target's path in place of the temporary one."""
    if isinstance(name, str) and Path(name).is_relative_to(temporary):
        return str(target / Path(name).relative_to(temporary))
    return name


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
