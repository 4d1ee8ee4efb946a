"""Which files of a folder count as pictures, and which are left out and why. Standard library only.

Training, evaluation, `parckit data check` and `parckit predict` all list files with the functions here. Paths are
strings: for a million files, `pathlib` takes several seconds.
"""

import os
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from parckit.contract import InputError

LEFTOVERS = frozenset(
    {
        # Synology and QNAP
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "#recycle",
        "#snapshot",
        "~snapshot",
        # Windows
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "found.000",
        # macOS
        "__macosx",
        "icon\r",
        "network trash folder",
        "temporary items",
        # Linux and Python
        "lost+found",
        "__pycache__",
    }
)
"""Files and folders that systems leave beside a user's files, in lower case. Hidden names are leftovers too."""

Cause = Literal["hidden", "ending", "place", "link", "special", "split"]


class LeftOut(NamedTuple):
    """A file or folder that is not used.

    Attributes:
        path: the file or folder, or the part of a table.
        cause: `"hidden"` for hidden names and leftovers of systems; `"ending"` for a file ending that is not read;
            `"place"` for a picture outside of class folders; `"link"` for a link that leads nowhere or to a folder that
            is read anyway; `"special"` for pipes and devices; `"split"` for a whole split.
        detail: what is wrong with it.
    """

    path: str
    cause: Cause
    detail: str


class Listing(NamedTuple):
    """The content of one folder.

    Attributes:
        folders: names of the folders in it, sorted. Links to folders count.
        links: those of `folders` that are links.
        files: names of the files, sorted. Links that lead nowhere count: their picture is missing.
        dangling: those of `files` that are links that lead nowhere.
    """

    folders: list[str]
    links: set[str]
    files: list[str]
    dangling: set[str]


def list_folder(folder: str, *, left_out: list[LeftOut]) -> Listing:
    """List a folder. Hidden names, leftovers of systems, pipes and devices go to `left_out`.

    Raises:
        InputError: if the folder cannot be read.
    """
    folders: list[str] = []
    links: set[str] = set()
    files: list[str] = []
    dangling: set[str] = set()
    for entry in _scan(folder):
        name = entry.name
        if is_leftover(name):
            left_out.append(LeftOut(entry.path, "hidden", "hidden, or left by a system"))
        elif _is(entry, "folder"):
            folders.append(name)
            links.update({name} if entry.is_symlink() else ())
        elif _is(entry, "file"):
            files.append(name)
        elif entry.is_symlink():
            files.append(name)
            dangling.update(() if Path(entry.path).exists() else {name})
        else:
            left_out.append(LeftOut(entry.path, "special", "not a regular file"))
    return Listing(sorted(folders), links, sorted(files), dangling)


def _scan(folder: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def is_leftover(name: str) -> bool:
    """Tell whether a file or folder is hidden or was left by a system."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


def subfolders(folder: str, *, left_out: list[LeftOut]) -> Listing:
    """List a folder as `list_folder` does, without links to folders that contain it."""
    listing = list_folder(folder, left_out=left_out)
    kept: list[str] = []
    for name in listing.folders:
        path = f"{folder}{os.sep}{name}"
        if name in listing.links and _contains(os.path.realpath(path), os.path.realpath(folder)):
            left_out.append(_repeated(path))
        else:
            kept.append(name)
    return listing._replace(folders=kept)


def walk(top: str, *, left_out: list[LeftOut]) -> list[tuple[str, Listing]]:
    """Return all folders in `top` with what is in them, sorted. Links to folders are followed.

    Every folder is listed once, whatever leads to it: a link to a folder that is listed anyway, or that contains
    `top`, goes to `left_out`.

    Raises:
        InputError: if a folder cannot be read.
    """
    real_top = os.path.realpath(top)
    visited = {str(parent) for parent in Path(real_top).parents}
    listed: list[tuple[str, Listing]] = []
    # Links are followed when all real folders have been listed, so that links never decide where a file is found.
    folders, links = deque([(top, real_top)]), deque[tuple[str, str]]()
    while folders or links:
        path, real = folders.popleft() if folders else links.popleft()
        if real in visited:
            left_out.append(_repeated(path))
            continue
        visited.add(real)
        listing = subfolders(path, left_out=left_out)
        listed.append((path, listing))
        for name in listing.folders:
            inner = f"{path}{os.sep}{name}"
            if name in listing.links:
                links.append((inner, os.path.realpath(inner)))
            else:
                folders.append((inner, f"{real}{os.sep}{name}"))
    return sorted(listed, key=lambda pair: pair[0])


def pictures(top: str, *, endings: Collection[str], left_out: list[LeftOut]) -> list[str]:
    """Return the paths of all files in `top` and its folders that have one of the endings, sorted by folder and name.

    Raises:
        InputError: if a folder cannot be read.
    """
    accepted = tuple(endings)
    paths: list[str] = []
    for folder, listing in walk(top, left_out=left_out):
        for name in listing.files:
            path = f"{folder}{os.sep}{name}"
            if name.lower().endswith(accepted):
                paths.append(path)
            else:
                left_out.append(refused_ending(path, is_dangling=name in listing.dangling))
    return paths


def refused_ending(path: str, *, is_dangling: bool) -> LeftOut:
    """Return why a file without one of the accepted endings is left out; `is_dangling` tells of a link to nowhere."""
    if is_dangling:
        return LeftOut(path, "link", "leads nowhere")
    ending = Path(path).suffix.lower()
    return LeftOut(path, "ending", ending or "without ending")


def _is(entry: "os.DirEntry[str]", kind: Literal["file", "folder"]) -> bool:
    """Tell what an entry is or leads to. A link that leads to itself is neither."""
    try:
        return entry.is_dir() if kind == "folder" else entry.is_file()
    except OSError:
        return False


def _repeated(path: str) -> LeftOut:
    return LeftOut(path, "link", "leads to a folder that contains it or is read anyway")


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)
