"""Images from Hugging Face's `datasets`, by index: `hf://NAME`, `hf://NAME:CONFIG` or `hf://PATH`.

NAME is a data set on the hub. The library downloads it once into its cache. PATH is a local folder; see
`parckit.data.tables`. If there are several columns of images or classes, `?image=COLUMN&label=COLUMN` chooses one, as
in `hf://cifar100?label=fine_label`. The classes are a column of type `ClassLabel`, or of whole numbers or strings: then
the classes are its values, sorted.

A split without labels counts as missing; the hub writes -1 for hidden labels, others leave the cell empty.
`parckit.data.splits` says what serves as a missing split. If a part of `train` is held out, it is the same share as in
folders, chosen by row number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.folder import HOLDOUT_PERCENT
from parckit.data.splits import Named, Part, Split, held_out, resolve_split, sort_labels
from parckit.data.tables import load_tables
from parckit.processing import LeftOut, decode_image, load_image

if TYPE_CHECKING:
    from datasets import Dataset

SCHEME = "hf://"

_USUAL = ("label", "labels")
"""A column of numbers or strings with such a name holds the classes if there is no column of type `ClassLabel`."""

_PLAIN = ("string", "large_string", "bool", "int", "uint")
"""How the types of columns begin whose values can be classes."""

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
        split: name of the split in errors.
        rows: the column of images, not decoded.
        numbers: row number of every image.
        left_out: files and splits that are not used.
    """

    labels: tuple[str, ...]
    served: str
    targets: NDArray[np.int64]
    split: str
    rows: "Dataset"
    numbers: NDArray[np.int64]
    left_out: tuple[LeftOut, ...] = ()

    def name(self, index: int) -> str:
        """Return the split and the row of image `index`."""
        return f"{self.split}, row {int(cast('np.int64', self.numbers[index]))}"

    def load(self, index: int) -> Image.Image:
        """Decode image `index`. Errors name the split and the row."""
        row = int(cast("np.int64", self.numbers[index]))
        (image,) = cast("dict[str, _Cell | None]", self.rows[row]).values()
        if image is None:
            raise InputError(f"{self.name(index)}: has no image")
        data, path = image["bytes"], image["path"]
        if data is None and path is None:
            raise InputError(f"{self.name(index)}: has no image")
        return load_image(path or "") if data is None else decode_image(data, name=self.name(index))


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
    left_out: list[LeftOut] = []
    parts = load_tables(address, source=source, left_out=left_out)
    image, label = _columns(next(iter(parts.values())), query=query, source=source)
    is_plain = _is_plain(next(iter(parts.values())), label)
    classes = {name: _classes(rows, label=label, is_plain=is_plain) for name, rows in parts.items()}
    present: dict[Named, Dataset] = {name: rows for name, rows in parts.items() if (classes[name][1] >= 0).all()}
    for name in parts.keys() - present.keys():
        targets = classes[name][1]
        left_out.append(LeftOut(name, "split", f"{int((targets < 0).sum())} of its {len(targets)} rows have no class"))
    if not present:
        raise InputError(f"{source}: no split has a class in column {label!r} for every row")
    # Choose the split, and the rows of it that belong to the wanted part.
    if split == "all":
        labels, targets = _join([classes[name] for name in present])
        served, numbers = split, np.arange(len(targets))
    else:
        resolved = resolve_split(split, present=present, source=source)
        present = {resolved.name: parts[resolved.name]}
        labels, targets = classes[resolved.name]
        served = str(resolved)
        numbers = _row_numbers(targets, part=resolved.part, source=source)
    return HuggingFaceTable(
        labels=labels,
        served=served,
        targets=targets[numbers],
        split=f"{source}, {'+'.join(present)}",
        rows=_undecoded(list(present.values()), image=image),
        numbers=numbers,
        left_out=tuple(left_out),
    )


def _columns(rows: "Dataset", *, query: str, source: str) -> tuple[str, str]:
    """Return the names of the columns of images and of classes."""
    from datasets import ClassLabel, Image  # noqa: PLC0415

    wanted = parse_qs(query)
    if unknown := wanted.keys() - {"image", "label"}:
        raise InputError(f"{source}: unknown option {min(unknown)!r}; accepted are image=COLUMN and label=COLUMN")
    images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    classes = [name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    plain = [name for name in rows.features if _is_plain(rows, name)]
    usual = classes or [name for name in plain if name in _USUAL]
    image = _one(wanted.get("image", images), among=images, option="image", kind="type Image", source=source)
    kind = "type ClassLabel, or of whole numbers or strings,"
    label = _one(wanted.get("label", usual), among=[*classes, *plain], option="label", kind=kind, source=source)
    return image, label


def _one(names: Sequence[str], *, among: Sequence[str], option: str, kind: str, source: str) -> str:
    if len(names) != 1 or names[0] not in among:
        listed = ", ".join(among) or "none"
        raise InputError(f"{source}: one column of {kind} is needed; choose it with ?{option}=COLUMN from: {listed}")
    return names[0]


def _is_plain(rows: "Dataset", name: str) -> bool:
    """Tell whether a column holds whole numbers or strings."""
    from datasets import Value  # noqa: PLC0415

    feature = rows.features[name]
    return isinstance(feature, Value) and feature.dtype.startswith(_PLAIN)


_Classes = tuple[tuple[str, ...], NDArray[np.int64]]
"""The class names of a split, and the class index of every row; -1 if it is hidden."""


def _classes(rows: "Dataset", *, label: str, is_plain: bool) -> _Classes:
    if not is_plain:
        return tuple(rows.features[label].names), _targets(rows, label)
    values = _names(rows, label)
    labels = sort_labels({value for value in values if value is not None})
    index_of = {value: index for index, value in enumerate(labels)}
    return labels, np.array([-1 if value is None else index_of[value] for value in values], dtype=np.int64)


def _join(parts: Sequence[_Classes]) -> _Classes:
    """Join the rows of several splits, whose classes may differ."""
    (labels, _), *others = parts
    if any(names != labels for names, _ in others):
        labels = sort_labels({name for names, _ in parts for name in names})
    index_of = {name: index for index, name in enumerate(labels)}
    renumbered = [np.array([index_of[name] for name in names], dtype=np.int64)[targets] for names, targets in parts]
    return labels, np.concatenate(renumbered)


def _names(rows: "Dataset", label: str) -> list[str | None]:
    """Return the values of a plain column as class names. None, -1 and an empty string are hidden classes."""
    values = cast("list[str | int | None]", list(rows.select_columns([label])[:][label]))
    return [None if value is None or value == -1 or not str(value).strip() else str(value).strip() for value in values]


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
