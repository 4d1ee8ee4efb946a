"""Images from Hugging Face's `datasets`, by index: `hf://NAME`, `hf://NAME:CONFIG` or `hf://PATH`.

NAME is a data set on the hub. The library downloads it once into its cache. PATH is a local folder; see
`parckit.data.tables`. If there are several columns of images or classes, `?image=COLUMN&label=COLUMN` chooses one, as
in `hf://cifar100?label=fine_label`. The classes are a column of type `ClassLabel`, or of whole numbers or strings: then
the classes are its values, sorted. If images have several labels, the column holds lists of these.

A split without labels counts as missing; the hub writes -1 for hidden labels, others leave the cell empty.
`parckit.data.splits` says what serves as a missing split. If a part of `train` is held out, it is the same share as in
folders, chosen by row number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.splits import Named, Split, join_labels, part_of, resolve_split, sort_labels
from parckit.data.tables import load_tables
from parckit.data.targets import ClassTargets, LabelTargets, concatenate, have_several_labels, renumber
from parckit.processing import LeftOut, decode_image, load_image

if TYPE_CHECKING:
    from datasets import Dataset

SCHEME = "hf://"

_USUAL = ("label", "labels")
"""A column of numbers or strings with such a name holds the classes if there is no column of type `ClassLabel`."""

_PLAIN = ("string", "large_string", "bool", "int", "uint")
"""How the types of columns begin whose values can be classes."""


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
        targets: class or labels of every image.
        split: name of the split in errors.
        rows: the column of images, not decoded.
        numbers: row number of every image.
        left_out: files and splits that are not used.
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    split: str
    rows: "Dataset"
    numbers: NDArray[np.int64]
    left_out: tuple[LeftOut, ...] = ()

    def name(self, index: int) -> str:
        """Return the split and the row of image `index`."""
        return f"{self.split}, row {int(cast('np.int64', self.numbers[index]))}"

    def load(self, index: int) -> Image.Image:
        """Decode image `index`. Errors name the split and the row."""
        data, path = self._stored(index)
        return load_image(path) if data is None else decode_image(data, name=self.name(index))

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of image `index`."""
        data, path = self._stored(index)
        if data is None and not Path(path).is_file():
            raise InputError(f"{path}: no such image file")
        return Path(path).read_bytes() if data is None else data

    def _stored(self, index: int) -> tuple[bytes | None, str]:
        """Return the bytes of image `index`, or None and the path of its file."""
        row = int(cast("np.int64", self.numbers[index]))
        (image,) = cast("dict[str, _Cell | None]", self.rows[row]).values()
        if image is None or (image["bytes"] is None and image["path"] is None):
            raise InputError(f"{self.name(index)}: has no image")
        return image["bytes"], image["path"] or ""


def open_huggingface(source: str, *, split: Split, several_labels: bool = False) -> HuggingFaceTable:
    """Open a split of a data set.

    Args:
        source: `hf://...`, as described at the top of this module.
        split: the wanted split; see `parckit.data.splits`.
        several_labels: an image may have any number of labels, not one class.

    Raises:
        InputError: if the package `datasets` is not installed, the data set cannot be loaded, or it does not have the
            wanted split or column.
    """
    left_out: list[LeftOut] = []
    image, parts = _labelled_parts(source, several_labels=several_labels, left_out=left_out)
    if split == "all":
        used, served = parts, str(split)
        labels, targets = _join([(part.labels, part.targets) for part in parts.values()])
        numbers = np.arange(len(targets))
    else:
        resolved = resolve_split(split, present=parts, source=source)
        used, served = {resolved.name: parts[resolved.name]}, str(resolved)
        _, labels, targets = parts[resolved.name]
        rows = list(map(str, range(len(targets))))
        numbers = part_of(rows, targets=targets, labels=labels, part=resolved.part, source=source)
    return HuggingFaceTable(
        labels=labels,
        served=served,
        targets=targets[numbers],
        split=f"{source}, {'+'.join(used)}",
        rows=_undecoded([part.rows for part in used.values()], image=image),
        numbers=numbers,
        left_out=tuple(left_out),
    )


class _Part(NamedTuple):
    """A split: its rows, its class names, and the target of every row; class -1 is hidden."""

    rows: "Dataset"
    labels: tuple[str, ...]
    targets: ClassTargets | LabelTargets


def _labelled_parts(source: str, *, several_labels: bool, left_out: list[LeftOut]) -> tuple[str, dict[Named, _Part]]:
    """Load all splits. Return the column of images, and the splits whose rows all have a class."""
    address, _, query = source.removeprefix(SCHEME).partition("?")
    tables = load_tables(address, source=source, left_out=left_out)
    first = next(iter(tables.values()))
    image, label = _columns(first, query=query, source=source, several_labels=several_labels)
    # The columns of all splits are read alike, though a hidden one may be of another type.
    read = _label_sets if _is_list(first, label) else _values if _is_plain(first, label) else _classes
    parts: dict[Named, _Part] = {name: _Part(rows, *read(rows, label)) for name, rows in tables.items()}
    hidden: dict[Named, int] = {name: _count_hidden(part.targets) for name, part in parts.items()}
    for name, count in hidden.items():
        if count:
            left_out.append(LeftOut(name, "split", f"{count} of its {len(parts[name].targets)} rows have no class"))
    labelled: dict[Named, _Part] = {name: part for name, part in parts.items() if not hidden[name]}
    if not labelled:
        raise InputError(f"{source}: no split has a class in column {label!r} for every row")
    return image, labelled


def _columns(rows: "Dataset", *, query: str, source: str, several_labels: bool) -> tuple[str, str]:
    """Return the names of the columns of images and of classes."""
    from datasets import ClassLabel, Image  # noqa: PLC0415

    wanted = parse_qs(query)
    if unknown := wanted.keys() - {"image", "label"}:
        raise InputError(f"{source}: unknown option {min(unknown)!r}; accepted are image=COLUMN and label=COLUMN")
    images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    classes = [name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    plain = [name for name in rows.features if _is_plain(rows, name)]
    lists = [name for name in rows.features if several_labels and _is_list(rows, name)]
    usual = lists or classes or [name for name in plain if name in _USUAL]
    image = _one(wanted.get("image", images), among=images, option="image", kind="type Image", source=source)
    kind = f"type ClassLabel, or of whole numbers or strings, {'or of lists of these, ' * several_labels}"
    label = _one(wanted.get("label", usual), among=[*lists, *classes, *plain], option="label", kind=kind, source=source)
    return image, label


def _one(names: Sequence[str], *, among: Sequence[str], option: str, kind: str, source: str) -> str:
    if len(names) != 1 or names[0] not in among:
        listed = ", ".join(among) or "none"
        raise InputError(f"{source}: one column of {kind} is needed; choose it with ?{option}=COLUMN from: {listed}")
    return names[0]


def _is_plain(rows: "Dataset", name: str) -> bool:
    """Tell whether a column holds whole numbers or strings."""
    return _is_plain_feature(rows.features[name])


def _is_plain_feature(feature: object) -> bool:
    from datasets import Value  # noqa: PLC0415

    return isinstance(feature, Value) and feature.dtype.startswith(_PLAIN)


def _is_list(rows: "Dataset", name: str) -> bool:
    """Tell whether a column holds lists of classes, of whole numbers or of strings."""
    from datasets import ClassLabel, LargeList, List  # noqa: PLC0415

    feature = rows.features[name]
    if not isinstance(feature, List | LargeList):
        return False
    return isinstance(feature.feature, ClassLabel) or _is_plain_feature(feature.feature)


_Classes = tuple[tuple[str, ...], ClassTargets | LabelTargets]
"""The class names of a split, and the targets of every row; class -1 is hidden."""


def _count_hidden(targets: ClassTargets | LabelTargets) -> int:
    """Return the number of rows whose class is hidden; if no row has a label, all labels are hidden."""
    if have_several_labels(targets):
        return 0 if targets.any() else len(targets)
    return int((targets < 0).sum())


def _label_sets(rows: "Dataset", label: str) -> _Classes:
    from datasets import ClassLabel  # noqa: PLC0415

    cells = cast("list[list[str | int] | None]", list(rows.select_columns([label])[:][label]))
    item = rows.features[label].feature
    names = item.names if isinstance(item, ClassLabel) else None
    values = [
        [str(value).strip() if names is None else str(names[int(value)]) for value in cell or ()] for cell in cells
    ]
    labels = tuple(names) if names is not None else sort_labels(value for row in values for value in row)
    index_of = {name: index for index, name in enumerate(labels)}
    targets = np.zeros((len(values), len(labels)), dtype=np.bool_)
    for number, row in enumerate(values):
        targets[number, [index_of[value] for value in row]] = True
    return labels, targets


def _classes(rows: "Dataset", label: str) -> _Classes:
    return tuple(rows.features[label].names), _targets(rows, label)


def _values(rows: "Dataset", label: str) -> _Classes:
    values = _names(rows, label)
    labels = sort_labels({value for value in values if value is not None})
    index_of = {value: index for index, value in enumerate(labels)}
    return labels, np.array([-1 if value is None else index_of[value] for value in values], dtype=np.int64)


def _join(parts: Sequence[_Classes]) -> _Classes:
    """Join the rows of several splits, whose classes may differ."""
    labels = join_labels(names for names, _ in parts)
    index_of = {name: index for index, name in enumerate(labels)}
    renumbered = [
        renumber(targets, np.array([index_of[name] for name in names], dtype=np.int64), classes=len(labels))
        for names, targets in parts
    ]
    return labels, concatenate(renumbered)


def _names(rows: "Dataset", label: str) -> list[str | None]:
    """Return the values of a plain column as class names. None, -1 and an empty string are hidden classes."""
    values = cast("list[str | int | None]", list(rows.select_columns([label])[:][label]))
    return [None if value is None or value == -1 or not str(value).strip() else str(value).strip() for value in values]


def _targets(rows: "Dataset", label: str) -> NDArray[np.int64]:
    return np.asarray(rows.select_columns([label]).with_format("numpy")[:][label], dtype=np.int64)


def _undecoded(parts: list["Dataset"], *, image: str) -> "Dataset":
    from datasets import Image, concatenate_datasets  # noqa: PLC0415

    columns = [rows.select_columns([image]).cast_column(image, Image(decode=False)) for rows in parts]
    return concatenate_datasets(columns)
