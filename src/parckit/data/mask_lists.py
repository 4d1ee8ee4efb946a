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
from parckit.data.faults import Fault
from parckit.data.mask_records import FolderFiles, MaskPair, MaskPairs, two_masks
from parckit.data.splits import Named, find_splits
from parckit.processing import IMAGE_EXTENSIONS

_BETWEEN = re.compile(r"[\s,;]+")
"""What stands between the picture and the mask in a line."""


class _Line(NamedTuple):
    """What a line names.

    Attributes:
        text: the name of the picture.
        picture: its path; None if there is no such file.
        masks: paths of its masks: the one that the line names, or all that have the name of the picture.
    """

    text: str
    picture: str | None = None
    masks: Sequence[str] = ()


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
    pictures = _names(folder, [item for part in files for item in part.pictures.items()])
    masks = _names(folder, [(stem, mask) for part in files for stem, paths in part.masks.items() for mask in paths])
    partners = {picture: part.masks.get(stem, ()) for part in files for stem, picture in part.pictures.items()}
    lines = [
        _read_line(line.strip(), folder=folder, pictures=pictures, masks=masks, partners=partners)
        for line in read_text(path).splitlines()
        if line.strip()
    ]
    refuse_repeated([line.picture or line.text for line in lines], origin=str(path))
    pairs: list[MaskPair] = []
    faults: list[Fault] = []
    for text, picture, masks_of_it in lines:
        if picture is None:
            detail = f"is in {path.name}, but there is no such picture"
            faults.append(Fault("missing picture", str(folder / text), detail))
        elif len(masks_of_it) == 1:
            name = _without_ending(_inside(picture, folder))
            pairs.append(MaskPair(f"{split}/{name}", picture, masks_of_it[0]))
        elif masks_of_it:
            faults.append(two_masks(picture, masks_of_it))
        else:
            faults.append(Fault("missing mask", picture, f"is in {path.name} and has no mask"))
    return MaskPairs(pairs=pairs, faults=faults)


def _read_line(
    text: str,
    *,
    folder: Path,
    pictures: Mapping[str, str],
    masks: Mapping[str, str],
    partners: Mapping[str, Sequence[str]],
) -> _Line:
    """Find what a line names. Names may have spaces, so the whole line is tried first."""
    picture = _find(text, pictures)
    if picture is not None:
        return _Line(text, picture, partners[picture])
    first, *others = _BETWEEN.split(text)
    if len(others) != 1:
        return _Line(text)
    # A list may name a mask in another folder than the usual one.
    beside = folder / others[0]
    mask = _find(others[0], masks) or (str(beside) if beside.is_file() else None)
    return _Line(first, _find(first, pictures), [] if mask is None else [mask])


def _find(text: str, names: Mapping[str, str]) -> str | None:
    """Return the file that a line names. In front of a path, folders that the source does not have are passed over."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    # A name alone at the end of a path does not do: `val/a` is not the `a` of another folder.
    ends = range(len(parts) - 1) if len(parts) > 1 else range(len(parts))
    keys = ("/".join(parts[first:]) for first in ends)
    return next((names[name] for key in keys for name in (key, _without_ending(key)) if name in names), None)


def _names(folder: Path, files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return all names that a line may use -> path. If two files have the same name, the first one is meant."""
    names: dict[str, str] = {}
    for stem, path in files:
        for name in (stem, _without_ending(_inside(path, folder))):
            names.setdefault(name, path)
    return names


def _inside(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def _without_ending(name: str) -> str:
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_EXTENSIONS else name
