"""Loading the tables of `hf://`: from the hub, from `save_to_disk`, or from a folder of parquet and other files.

In a folder, names alone say which split a file belongs to: `train-00000.parquet` or `train/part.parquet`. The library
would guess more and leave out files that its guess does not cover; here such a file is an error.
"""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parckit.contract import InputError, MissingExtraError
from parckit.data.splits import SPELLINGS, Named, find_splits
from parckit.processing import IMAGE_EXTENSIONS, LeftOut, refused_ending
from parckit.processing.listing import walk

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes: the first one for several splits, the second one for one split."""

_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
"""File ending of a table -> the library's name for its kind."""

_DESCRIPTIONS = ("dataset_infos.json", "dataset_info.json")
"""JSON files that describe a data set and are no table."""

_CARD = "README.md"
"""The file that can list the files of every split, under `configs:`."""


def load_tables(address: str, *, source: str, left_out: list[LeftOut]) -> dict[Named, "Dataset"]:
    """Load all splits of a data set.

    Args:
        address: a folder, or `NAME` or `NAME:CONFIG` on the hub.
        source: names the data set in errors.
        left_out: gets files and splits that are not used.

    Raises:
        InputError: if the package `datasets` is not installed, or the data set cannot be loaded.
    """
    try:
        from datasets import Dataset  # noqa: PLC0415  # an extra, and slow to import
        from datasets.exceptions import DatasetsError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(source, package="datasets", extra="hf") from error
    try:
        loaded = _load(address, source=source, left_out=left_out)
    # RuntimeError: the data set needs its loading script, which the library refuses to run.
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be loaded ({reason})") from error
    if isinstance(loaded, Dataset):
        return {"train": loaded}
    name_of = find_splits(map(str, loaded), source=source)
    if not name_of:
        listed = ", ".join(map(str, loaded))
        raise InputError(f"{source}: has only the splits {listed}; accepted are {', '.join(SPELLINGS)}")
    unused = [name for name in map(str, loaded) if name not in name_of.values()]
    left_out += [LeftOut(name, "split", "no train, val or test") for name in unused]
    return {split: loaded[name] for split, name in name_of.items()}


def _load(address: str, *, source: str, left_out: list[LeftOut]) -> "Dataset | DatasetDict":
    from datasets import load_dataset, load_from_disk  # noqa: PLC0415

    folder = Path(address).expanduser()
    if any((folder / file).is_file() for file in _SAVED):
        return load_from_disk(str(folder))
    if folder.is_dir() and not _lists_its_files(folder):
        kind, files = _split_files(folder, source=source, left_out=left_out)
        return load_dataset(kind, data_files={name: list(map(glob.escape, paths)) for name, paths in files.items()})
    name, _, config = (str(folder), "", "") if folder.exists() else address.partition(":")
    return load_dataset(name, config or None)


def _lists_its_files(folder: Path) -> bool:
    """Tell whether the card of a data set says which files belong to which split, or a script loads it."""
    card = folder / _CARD
    has_script = (folder / f"{folder.name}.py").is_file()
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    return has_script or re.search(r"^configs:", text, re.MULTILINE) is not None


def _split_files(folder: Path, *, source: str, left_out: list[LeftOut]) -> tuple[str, dict[Named, list[str]]]:
    """Return the kind of the tables in a folder, and the files of every split.

    Raises:
        InputError: if there is no table, there are several kinds of tables, or a name leaves the split open.
    """
    listed = walk(str(folder), left_out=left_out)
    paths = [Path(parent) / name for parent, listing in listed for name in listing.files]
    paths = [path for path in paths if path.name not in (*_DESCRIPTIONS, _CARD)]
    dangling = {Path(parent) / name for parent, listing in listed for name in listing.dangling}
    tables = [path for path in paths if path.suffix.lower() in _BUILDERS]
    if not tables:
        images = any(path.suffix.lower() in IMAGE_EXTENSIONS for path in paths)
        hint = f"; for images in class folders give --data {folder}, without hf://" if images else ""
        raise InputError(f"{source}: holds no table; accepted are {', '.join(_BUILDERS)}{hint}")
    kinds = sorted({_BUILDERS[path.suffix.lower()] for path in tables})
    if len(kinds) > 1:
        raise InputError(f"{source}: holds tables of several kinds, {', '.join(kinds)}; keep one of them")
    others = [path for path in paths if path.suffix.lower() not in _BUILDERS]
    left_out += [refused_ending(str(path), is_dangling=path in dangling) for path in others]
    return kinds[0], _by_split(tables, folder=folder, source=source)


def _by_split(tables: Sequence[Path], *, folder: Path, source: str) -> dict[Named, list[str]]:
    files: dict[Named | None, list[str]] = {}
    for path in tables:
        words = [*path.relative_to(folder).parts[:-1], re.split(r"[^A-Za-z]", path.name)[0]]
        named: set[Named] = {SPELLINGS[word.casefold()] for word in words if word.casefold() in SPELLINGS}
        if len(named) > 1:
            raise InputError(f"{source}: {path.relative_to(folder)} names several splits; keep one of the names")
        files.setdefault(next(iter(named), None), []).append(str(path))
    unnamed = files.pop(None, [])
    if not files:
        return {"train": unnamed}
    if unnamed:
        name = Path(unnamed[0]).relative_to(folder)
        raise InputError(
            f"{source}: {name} belongs to no split, but other files do; let its name begin with train-, val- or test-"
        )
    return {split: paths for split, paths in files.items() if split is not None}
