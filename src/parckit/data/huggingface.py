"""Images from Hugging Face's `datasets`, by index: `hf://NAME`, `hf://NAME:CONFIG` or `hf://PATH`.

NAME is a data set on the hub. The library downloads it once into its cache. PATH is a local folder that `save_to_disk`
wrote or that `load_dataset` can read. If there are several columns of images or classes, `?image=COLUMN&label=COLUMN`
chooses one, as in `hf://cifar100?label=fine_label`.

A split without labels counts as missing; the hub writes -1 for hidden labels. `parckit.data.splits` says what serves as
a missing split. Where a part of `train` is held out, it is the same share as in folders, chosen by row number.
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
"""Files that `save_to_disk` writes: the first one for several splits, the second one for one split."""

_SALT = "parckit"
"""Salt of the held-out part. Do not change it: images that existing checkpoints were trained on would be held out."""


class _Cell(TypedDict):
    """An image of a data set that is not decoded: its bytes, or the path of its file."""

    bytes: bytes | None
    path: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceTable:
    """The images of a split.

    Attributes:
        labels: class names by index.
        served: which part of the source serves as the split.
        targets: class index of every image.
        name: name of the split in errors.
        rows: the column of images, not decoded.
        numbers: row number of every image.
    """

    labels: tuple[str, ...]
    served: str
    targets: NDArray[np.int64]
    name: str
    rows: "Dataset"
    numbers: NDArray[np.int64]

    def load(self, index: int) -> Image.Image:
        """Decode image `index`. Errors name the split and the row."""
        row = int(cast("np.int64", self.numbers[index]))
        (image,) = cast("dict[str, _Cell | None]", self.rows[row]).values()
        if image is None:
            raise InputError(f"{self.name}, row {row}: has no image")
        data, path = image["bytes"], image["path"]
        return load_image(path or "") if data is None else decode_image(data, name=f"{self.name}, row {row}")


def open_huggingface(source: str, *, split: Split) -> HuggingFaceTable:
    """Open a split of a data set.

    Args:
        source: `hf://...`, as described at the top of this module.
        split: the wanted split; see `parckit.data.splits`.

    Raises:
        InputError: if the package `datasets` is not installed, the data set cannot be loaded, or it does not have the
            wanted split or column.
    """
    # Load all splits, and find the columns and the classes.
    address, _, query = source.removeprefix(SCHEME).partition("?")
    parts = _load(address, source=source)
    image, label = _columns(next(iter(parts.values())), query=query, source=source)
    targets: dict[Named, NDArray[np.int64]] = {name: _targets(rows, label) for name, rows in parts.items()}
    present: dict[Named, Dataset] = {name: rows for name, rows in parts.items() if (targets[name] >= 0).all()}
    if not present:
        raise InputError(f"{source}: no split has a class in column {label!r} for every row")
    # Choose the split, and the rows of it that belong to the wanted part.
    if split == "all":
        labels = _class_names(parts, label=label, source=source)
        served, numbers = split, np.arange(sum(len(targets[name]) for name in present))
    else:
        resolved = resolve_split(split, present=present, source=source)
        present = {resolved.name: parts[resolved.name]}
        labels = _class_names(present, label=label, source=source)
        served = str(resolved)
        numbers = _row_numbers(targets[resolved.name], part=resolved.part, source=source)
    return HuggingFaceTable(
        labels=labels,
        served=served,
        targets=np.concatenate([targets[name] for name in present])[numbers],
        name=f"{source}, {'+'.join(present)}",
        rows=_undecoded(list(present.values()), image=image),
        numbers=numbers,
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
    # RuntimeError: the data set needs its loading script, which the library refuses to run.
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be loaded ({reason})") from error
    if isinstance(loaded, Dataset):
        return {"train": loaded}
    name_of = find_splits(map(str, loaded), source=source)
    if not name_of:
        listed = ", ".join(map(str, loaded))
        raise InputError(f"{source}: has only the splits {listed}; accepted are {', '.join(SPELLINGS)}")
    return {split: loaded[name] for split, name in name_of.items()}


def _columns(rows: "Dataset", *, query: str, source: str) -> tuple[str, str]:
    from datasets import ClassLabel, Image  # noqa: PLC0415

    wanted = parse_qs(query)
    if unknown := wanted.keys() - {"image", "label"}:
        raise InputError(f"{source}: unknown option {min(unknown)!r}; accepted are image=COLUMN and label=COLUMN")
    columns: list[str] = []
    for option, kind in (("image", Image), ("label", ClassLabel)):
        fitting = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
        matching = [name for name in fitting if name in wanted.get(option, fitting)]
        if len(matching) != 1:
            listed = ", ".join(fitting) or "none"
            one = f"one column of type {kind.__name__} is needed"
            raise InputError(f"{source}: {one}; choose it with ?{option}=COLUMN from: {listed}")
        columns += matching
    return columns[0], columns[1]


def _class_names(parts: Mapping[Named, "Dataset"], *, label: str, source: str) -> tuple[str, ...]:
    (_, first), *others = ((name, tuple(rows.features[label].names)) for name, rows in parts.items())
    for name, names in others:
        if names != first:
            raise InputError(f"{source}: the classes of {name} differ from the classes of its other splits")
    return first


def _targets(rows: "Dataset", label: str) -> NDArray[np.int64]:
    return np.asarray(rows.select_columns([label]).with_format("numpy")[:][label], dtype=np.int64)


def _row_numbers(targets: NDArray[np.int64], *, part: Part, source: str) -> NDArray[np.int64]:
    """Return the numbers of the rows that belong to a part of a split."""
    rows = np.arange(len(targets))
    if part == "whole":
        return rows
    try:
        outside = held_out(list(map(str, rows)), classes=targets.tolist(), percent=HOLDOUT_PERCENT, salt=_SALT)
    except ValueError as error:
        raise InputError(f"{source}: {error}, which cannot be both trained on and held out") from error
    return rows[np.isin(rows, list(outside)) == (part == "held_out")]


def _undecoded(parts: list["Dataset"], *, image: str) -> "Dataset":
    from datasets import Image, concatenate_datasets  # noqa: PLC0415

    columns = [rows.select_columns([image]).cast_column(image, Image(decode=False)) for rows in parts]
    return concatenate_datasets(columns)
