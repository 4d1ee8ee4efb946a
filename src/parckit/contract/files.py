"""Writing files so that nothing partial is ever left behind."""

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
    """Yield a temporary path beside `target`; rename it to `target` on success, remove it on failure.

    The body may create a file or a folder there. A folder that stood at `target` is replaced as a whole.

    Raises:
        InputError: if the target is the working folder or holds it: what runs there would be left in a deleted one.
        OSError: if the folder cannot be written.
    """
    if target.is_dir() and target.resolve() in (here := Path.cwd(), *here.parents):
        raise InputError(f"{target}: is or holds the folder this runs in; name another")
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


def find_leftovers(folder: Path, *, names: str) -> list[Path]:
    """Return what killed processes left of `replacing` targets in a folder, or others that are at work write now.

    Half-written ones end in `.tmp`, former ones that were being replaced in `.old`.

    Args:
        folder: of the targets.
        names: of the targets, a regular expression.
    """
    found = ((path, _LEFTOVER.fullmatch(path.name)) for path in folder.glob(".*~*"))
    return sorted(path for path, match in found if match and re.fullmatch(names, match[1]))


def remove_leftovers(folder: Path, *, names: str) -> None:
    """Remove them; no other process may be at work."""
    for path in find_leftovers(folder, names=names):
        _remove(path)


def _unique(target: Path, *, ending: str) -> Path:
    # The process's number alone is not enough: processes of other machines and containers may have the same one.
    return target.with_name(f".{target.name}~{os.getpid()}-{uuid4().hex[:8]}.{ending}")


def _put(temporary: Path, target: Path) -> None:
    """Rename; a folder in the way is moved aside first and comes back if that fails."""
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
