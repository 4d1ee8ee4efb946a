"""Lists beside folders of pictures and masks: `train.txt`, `val.txt` and `test.txt` (or another usual spelling).

A line names a picture: by its name, or by its path in the source or in the folder of pictures, with or without the
ending. The path of the mask may follow, as in CamVid's lists. What such a path has in front of the source's own folders
does not count, because lists often have paths of the machine that wrote them.

The lists decide over the folders: a split has the pictures of its list, in this order. A split without a list has the
pictures of its folder that are in no list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from parckit.data.box_records import list_files, read_text, refuse_repeated
from parckit.data.mask_faults import MaskFault
from parckit.data.mask_records import MaskPair, MaskPairs
from parckit.data.splits import Named, find_splits
from parckit.processing import IMAGE_EXTENSIONS

_BETWEEN = re.compile(r"[\s,;]+")
"""What stands between the picture and the mask in a line."""


class FolderFiles(NamedTuple):
    """The files of a folder of pictures and of its folder of masks.

    Attributes:
        pictures: path in the folder of pictures without ending -> path.
        masks: the same of the picture -> path of its mask; of masks without a picture, that of the mask.
    """

    pictures: Mapping[str, str]
    masks: Mapping[str, str]


class _Line(NamedTuple):
    """What a line names; None if there is no such file."""

    text: str
    picture: str | None
    mask: str | None


def find_mask_lists(folder: Path) -> dict[Named, Path]:
    """Return the lists that lie in a folder.

    Raises:
        InputError: if two lists mean the same split.
    """
    files = {path.stem: path for path in list_files(folder, ending=".txt")}
    return {split: files[name] for split, name in find_splits(files, source=str(folder)).items()}


def read_mask_list(path: Path, *, split: Named, files: Sequence[FolderFiles]) -> MaskPairs:
    """Return the pictures of a list and their masks. Those that do not exist are faults.

    Args:
        path: the list. It lies in the folder of the source.
        split: begins the names of the pairs.
        files: all pictures and masks of the source. If two have the same name, the first one is meant.

    Raises:
        InputError: if it cannot be read, or lists a picture twice.
    """
    folder = path.parent
    pictures = _names(folder, [part.pictures for part in files])
    masks = _names(folder, [part.masks for part in files])
    partners = {
        part.pictures[stem]: mask for part in files for stem, mask in part.masks.items() if stem in part.pictures
    }
    lines = [
        _read_line(line.strip(), folder=folder, pictures=pictures, masks=masks, partners=partners)
        for line in read_text(path).splitlines()
        if line.strip()
    ]
    refuse_repeated([line.picture or line.text for line in lines], origin=str(path))
    pairs = [
        MaskPair(f"{split}/{_without_ending(_inside(line.picture, folder))}", line.picture, line.mask)
        for line in lines
        if line.picture is not None and line.mask is not None
    ]
    faults = [
        MaskFault("missing mask", line.picture, f"is in {path.name} and has no mask")
        if line.picture is not None
        else MaskFault("missing picture", str(folder / line.text), f"is in {path.name}, but there is no such picture")
        for line in lines
        if line.picture is None or line.mask is None
    ]
    return MaskPairs(pairs=pairs, faults=faults)


def _read_line(
    text: str, *, folder: Path, pictures: Mapping[str, str], masks: Mapping[str, str], partners: Mapping[str, str]
) -> _Line:
    """Find what a line names. Names may have spaces, so the whole line is tried first."""
    picture = _find(text, pictures)
    if picture is not None:
        return _Line(text, picture, partners.get(picture))
    first, *others = _BETWEEN.split(text)
    if len(others) != 1:
        return _Line(text, None, None)
    # A list may name a mask in another folder than the usual one.
    beside = folder / others[0]
    return _Line(first, _find(first, pictures), _find(others[0], masks) or (str(beside) if beside.is_file() else None))


def _find(text: str, names: Mapping[str, str]) -> str | None:
    """Return the file that a line names. In front of a path, folders that the source does not have are passed over."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    # A name alone at the end of a path does not do: `val/a` is not the `a` of another folder.
    ends = range(len(parts) - 1) if len(parts) > 1 else range(len(parts))
    keys = ("/".join(parts[first:]) for first in ends)
    return next((names[name] for key in keys for name in (key, _without_ending(key)) if name in names), None)


def _names(folder: Path, files: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return all names that a line may use -> path."""
    names: dict[str, str] = {}
    for stems in files:
        for stem, path in stems.items():
            for name in (stem, _without_ending(_inside(path, folder))):
                names.setdefault(name, path)
    return names


def _inside(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def _without_ending(name: str) -> str:
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_EXTENSIONS else name
