"""Tables of Hugging Face's `datasets`, as images by index: `hf://NAME`, `hf://NAME:CONFIG` or `hf://PATH`.

NAME is that of a data set on the hub, which is downloaded once into the library's own cache; PATH is a local folder,
either one that `save_to_disk` wrote or one that `load_dataset` reads. `?image=COLUMN&label=COLUMN` chooses columns
where there are several: `hf://cifar100?label=fine_label`.

A split without labels (the hub gives -1 for hidden ones) counts as missing. Missing splits follow
`parckit.data.splits`; where `val` is missing, the same share of `train` is held out as in folders, chosen by row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.folder import HOLDOUT_PERCENT
from parckit.data.splits import SPELLINGS, Named, Part, Split, find_splits, held_out, resolve_split
from parckit.processing import decode_image, load_image

if TYPE_CHECKING:
    from datasets import Dataset

SCHEME = "hf://"

_SAVED = ("dataset_dict.json", "state.json")
# What save_to_disk leaves in the folder of several splits, or of one.

_SALT = "parckit"
# Part of the split's definition, as in folders.


class _Cell(TypedDict):
    bytes: bytes | None
    path: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceTable:
    """Rows of a split.

    Attributes:
        labels: class names by index.
        served: what of the source serves as the split.
        targets: class index of every row.
        name: what errors call the split.
        rows: the images' column, not decoded.
        numbers: row of every image.
    """

    labels: tuple[str, ...]
    served: str
    targets: NDArray[np.int64]
    name: str
    rows: "Dataset"
    numbers: NDArray[np.int64]

    def load(self, index: int) -> Image.Image:
        """Decode image `index`; an error names split and row."""
        row = int(cast("np.int64", self.numbers[index]))
        (image,) = cast("dict[str, _Cell | None]", self.rows[row]).values()
        if image is None:
            raise InputError(f"{self.name}, row {row}: has no image")
        data, path = image["bytes"], image["path"]
        return load_image(path or "") if data is None else decode_image(data, name=f"{self.name}, row {row}")


def open_huggingface(source: str, *, split: Split) -> HuggingFaceTable:
    """Open a split of a data set.

    Args:
        source: `hf://...`, see above.
        split: which one; see `parckit.data.splits`.

    Raises:
        InputError: if the package `datasets` is not installed, the data set cannot be loaded, or it has no split or
            column of the kind asked for.
    """
    address, _, query = source.removeprefix(SCHEME).partition("?")
    parts = _load(address, source=source)
    image, label = _columns(next(iter(parts.values())), query=query, source=source)
    labels = _class_names(parts, label=label, source=source)
    targets: dict[Named, NDArray[np.int64]] = {name: _numbers(rows, label) for name, rows in parts.items()}
    present: dict[Named, Dataset] = {name: rows for name, rows in parts.items() if (targets[name] >= 0).all()}
    if not present:
        raise InputError(f"{source}: no split has a class in {label!r} for every row")
    if split == "all":
        served, kept = split, np.arange(sum(len(targets[name]) for name in present))
    else:
        own = resolve_split(split, present=present, source=source)
        present = {own.name: parts[own.name]}
        served, kept = str(own), _kept(targets[own.name], part=own.part, source=source)
    return HuggingFaceTable(
        labels=labels,
        served=served,
        targets=np.concatenate([targets[name] for name in present])[kept],
        name=f"{source}, {'+'.join(present)}",
        rows=_undecoded(list(present.values()), image=image),
        numbers=kept,
    )


def _load(address: str, *, source: str) -> dict[Named, "Dataset"]:
    try:
        from datasets import Dataset, load_dataset, load_from_disk  # noqa: PLC0415  # an extra, and slow to import
        from datasets.exceptions import DatasetsError  # noqa: PLC0415
    except ImportError as error:
        raise InputError(f'{source}: needs the package datasets: pip install "parckit[hf]"') from error
    folder = Path(address).expanduser()
    name, _, config = (str(folder), "", "") if folder.exists() else address.partition(":")
    try:
        if any((folder / file).is_file() for file in _SAVED):
            loaded = load_from_disk(str(folder))
        else:
            loaded = load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # RuntimeError: it comes as a script
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be loaded ({reason})") from error
    if isinstance(loaded, Dataset):
        return {"train": loaded}
    found = find_splits(map(str, loaded), source=source)
    if not found:
        raise InputError(f"{source}: its splits ({', '.join(map(str, loaded))}) are none of {', '.join(SPELLINGS)}")
    return {split: loaded[name] for split, name in found.items()}


def _columns(rows: "Dataset", *, query: str, source: str) -> tuple[str, str]:
    from datasets import ClassLabel, Image  # noqa: PLC0415

    wanted = parse_qs(query)
    if unknown := wanted.keys() - {"image", "label"}:
        raise InputError(f"{source}: {min(unknown)!r} is no option; accepted are image=COLUMN and label=COLUMN")
    chosen: list[str] = []
    for option, kind in (("image", Image), ("label", ClassLabel)):
        fitting = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
        asked = [name for name in fitting if name in wanted.get(option, fitting)]
        if len(asked) != 1:
            listed = ", ".join(fitting) or "none"
            raise InputError(f"{source}: choose by ?{option}=COLUMN one column of type {kind.__name__}, has {listed}")
        chosen += asked
    return chosen[0], chosen[1]


def _class_names(parts: Mapping[Named, "Dataset"], *, label: str, source: str) -> tuple[str, ...]:
    (_, first), *others = ((name, tuple(rows.features[label].names)) for name, rows in parts.items())
    for name, names in others:
        if names != first:
            raise InputError(f"{source}: the classes of {name} differ from those of its other splits")
    return first


def _numbers(rows: "Dataset", label: str) -> NDArray[np.int64]:
    return np.asarray(rows.select_columns([label]).with_format("numpy")[:][label], dtype=np.int64)


def _kept(targets: NDArray[np.int64], *, part: Part, source: str) -> NDArray[np.int64]:
    rows = np.arange(len(targets))
    if part == "whole":
        return rows
    try:
        chosen = held_out(list(map(str, rows)), classes=targets.tolist(), percent=HOLDOUT_PERCENT, salt=_SALT)
    except ValueError as error:
        raise InputError(f"{source}: {error}, which cannot be both trained on and held out") from error
    return rows[np.isin(rows, list(chosen)) == (part == "held_out")]


def _undecoded(parts: list["Dataset"], *, image: str) -> "Dataset":
    from datasets import Image, concatenate_datasets  # noqa: PLC0415

    columns = [rows.select_columns([image]).cast_column(image, Image(decode=False)) for rows in parts]
    return concatenate_datasets(columns)
