"""Opening images by a short address: `digits`, a path, or `hf://NAME`; or by several addresses."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol, get_args

from parckit.contract import InputError
from parckit.data.datasets import IndexedImages, OnError, Table, Transform
from parckit.data.digits import DigitsTable, open_digits
from parckit.data.folder import FileTable, open_folder
from parckit.data.huggingface import SCHEME, HuggingFaceTable, open_huggingface
from parckit.data.joined import join_tables, refuse_shared_files
from parckit.data.lists import is_list, open_list
from parckit.data.shards import ShardTable, is_shard_folder, is_shard_pattern, list_shards, open_shards
from parckit.data.splits import Split
from parckit.data.targets import as_labels

_ACCEPTED = (
    "accepted are 'digits', a folder of class folders, a folder with train/, val/, test/, a folder or pattern of"
    " .tar or .tar.gz shards, a list of files (.csv or .txt), and hf://NAME"
)
Source = str | Sequence[str]
"""One address of images, or several, whose images are joined."""

_LONGEST = 200
"""Longer sources are cut in errors about them."""

_CURL = "curl --fail --output-dir FOLDER --remote-name-all ADDRESS"
_COPYING = {
    "http": _CURL,
    "https": _CURL,
    "s3": "for shard in ADDRESS; do aws s3 cp $shard FOLDER/; done",
    "gs": "gsutil cp ADDRESS FOLDER",
}
"""Scheme of an address -> shell command that copies the shards into FOLDER. Shell or curl expand the braces."""


def open_images(source: Source, *, split: Split, transform: Transform, on_error: OnError = "raise") -> IndexedImages:
    """Open a split of labelled images.

    Args:
        source: `"digits"` (built in), a folder (`parckit.data.folder`), local shards (`parckit.data.shards`), a list of
            files (`parckit.data.lists`) or `"hf://NAME"` (`parckit.data.huggingface`). Write `"./digits"` for a folder
            that is called digits. Several sources are joined (`parckit.data.joined`).
        split: `"train"`, `"val"`, `"test"`, or `"all"` for every image. `parckit.data.splits` says what serves as a
            missing split.
        transform: applied to every image.
        on_error: `"raise"` stops at a broken image and names it; `"skip"` leaves it out and counts it in the batch.

    Raises:
        InputError: if the source is of no accepted kind or malformed, or `split` or `on_error` is unknown.
    """
    if on_error not in get_args(OnError):
        raise InputError(f"on_error={on_error!r}: choose from {get_args(OnError)}")
    return IndexedImages(open_table(source, split=split), transform=transform, on_error=on_error)


class OpenTable(Protocol):
    """Opens a split of a source, as a task needs it."""

    def __call__(self, source: Source, *, split: Split) -> Table:
        """Return the pictures and their targets."""
        ...


def open_label_table(source: Source, *, split: Split) -> Table:
    """Open a split of pictures with any number of labels; in a source of classes every picture has one label.

    Raises:
        InputError: as `open_table`.
    """
    return open_table(source, split=split, several_labels=True)


def open_table(source: Source, *, split: Split, several_labels: bool = False) -> Table:
    """Open a split of labelled pictures, as `open_images` does, without a transform.

    Args:
        source: as in `open_images`.
        split: as in `open_images`.
        several_labels: a picture may have any number of labels, not one class.

    Raises:
        InputError: if the source is of no accepted kind or malformed, or `split` is unknown.
    """
    if split not in get_args(Split):
        raise InputError(f"split={split!r}: choose from {get_args(Split)}")
    if not isinstance(source, str):
        return _open_several(source, split=split, several_labels=several_labels)
    try:
        table = _open_address(source, split=split, several_labels=several_labels)
    except OSError as error:
        # For example: the name is too long, or a folder may not be read.
        where = f"{source:.200}" if error.filename is None or len(source) > _LONGEST else error.filename
        raise InputError(f"{where}: cannot be opened ({error.strerror})") from error
    return replace(table, targets=as_labels(table.targets, classes=len(table.labels))) if several_labels else table


def _open_several(sources: Sequence[str], *, split: Split, several_labels: bool) -> Table:
    if not sources:
        raise InputError(f"source={sources!r}: is empty; {_ACCEPTED}")
    # One folder can be written in several ways.
    are_named = [part == "digits" or "://" in part for part in sources]
    places = [
        part if is_named else os.path.realpath(Path(part).expanduser())
        for part, is_named in zip(sources, are_named, strict=True)
    ]
    if repeated := [part for index, part in enumerate(sources) if places[index] in places[:index]]:
        raise InputError(f"source: names {repeated[0]} twice")
    tables = [open_table(part, split=split, several_labels=several_labels) for part in sources]
    if len(tables) == 1:
        return tables[0]
    refuse_shared(sources)
    return join_tables(tables)


def refuse_shared(sources: Sequence[str]) -> None:
    """Refuse several sources if a file is in two of them.

    Raises:
        InputError: naming the file and both sources.
    """
    refuse_shared_files({part: _files(part) for part in sources if part != "digits" and not part.startswith(SCHEME)})


def _files(source: str) -> list[str]:
    """Return the files of a source that a training can use: images in folders and lists, or shards."""
    if _holds_shards(source):
        return list(map(str, list_shards(source, left_out=[])))
    try:
        tables = [_open_address(source, split="all", several_labels=True)]
    except InputError:
        # For example, `test` has no class folders. A training uses only the other splits then.
        tables: list[Table] = []
        for split in ("train", "val"):
            with suppress(InputError):
                tables.append(_open_address(source, split=split, several_labels=True))
    return [table.name(index) for table in tables for index in range(len(table.targets))]


def _holds_shards(source: str) -> bool:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return is_shard_folder(folder)
    return is_shard_pattern(source) and not is_list(source)


def _open_address(
    source: str, *, split: Split, several_labels: bool
) -> DigitsTable | FileTable | HuggingFaceTable | ShardTable:
    if source == "digits":
        return open_digits(split=split)
    if source.startswith(SCHEME):
        return open_huggingface(source, split=split, several_labels=several_labels)
    if "://" in source:
        raise InputError(f"{source}: parckit reads shards from disk; {_how_to_copy(source)}, then give --data FOLDER")
    folder = Path(source).expanduser()
    if _holds_shards(source):
        return open_shards(source, split=split)
    if folder.is_dir():
        return open_folder(folder, split=split)
    if is_list(source):
        return open_list(source, split=split, several_labels=several_labels)
    problem = "not a folder" if folder.exists() else "no such folder"
    raise InputError(f"{source}: {problem}; {_ACCEPTED}")


def single_source(source: Source, *, holds: str, accepted: str) -> str:
    """Return the only address of a source of boxes or masks.

    Args:
        source: one address, or a list of one.
        holds: what it holds, for errors.
        accepted: which addresses are accepted, for errors.

    Raises:
        InputError: if there is none, or there are several.
    """
    addresses = [source] if isinstance(source, str) else source
    if not addresses:
        raise InputError(f"source={source!r}: is empty; {accepted}")
    if len(addresses) > 1:
        raise InputError(f"source: has {len(addresses)} entries; {holds} come from one source")
    return addresses[0]


def name_source(source: Source) -> str:
    """Return a source as the command line takes it, for errors and titles."""
    parts = [source] if isinstance(source, str) else source
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"


def _how_to_copy(address: str) -> str:
    copying = _COPYING.get(address.partition("://")[0].lower())
    command = "" if copying is None else f" (mkdir FOLDER; {copying.replace('ADDRESS', address)})"
    return f"copy them first, and the classes.txt beside them if there is one{command}"
