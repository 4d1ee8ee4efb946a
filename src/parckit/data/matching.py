"""Joining the classes of a source with those of a network, by name."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.datasets import Table, Targets
from parckit.data.targets import (
    ClassTargets,
    ObjectTargets,
    PixelTargets,
    RenumberedObjects,
    RenumberedPixels,
    count_classes,
    have_several_labels,
    known_pictures,
    renumber,
)
from parckit.processing import LeftOut

_MOST_NAMED = 5
"""Classes that a message names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchedTable:
    """Pictures of another table under other class indices.

    Attributes:
        labels: class names by index.
        served: which part of the source serves as the split, and what was left out of it.
        targets: class or labels of every picture.
        table: the other table.
        indices: index of every picture in the other table.
    """

    labels: tuple[str, ...]
    served: str
    targets: Targets
    table: Table
    indices: NDArray[np.int64]

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What the source holds and does not read."""
        return self.table.left_out

    def name(self, index: int) -> str:
        """Return what errors call a picture."""
        return self.table.name(int(self.indices[index]))

    def load(self, index: int) -> Image.Image:
        """Decode a picture; see `Table.load`."""
        return self.table.load(int(self.indices[index]))


def match_classes(table: Table, labels: Sequence[str], *, source: str, only: Collection[str] | None = None) -> Table:
    """Return a table whose targets are indices into the classes of a network.

    A class of the network without pictures stays: it has 0 images. Pictures of other classes are left out, with one
    warning for all of them. Where pictures have several labels, an unknown label is an error, because such a picture is
    neither right nor wrong as a whole.

    Args:
        table: pictures of a source.
        labels: class names of the network.
        source: name of the source in messages.
        only: classes of the network; leave out the pictures of all other classes; None leaves out none.

    Raises:
        InputError: if the source has no picture or object of the network's classes, or of the classes in `only`, or a
            picture with several labels has an unknown one.
    """
    if tuple(table.labels) == tuple(labels) and only is None:
        return table
    # Look up the network's index of every class of the source; -1 means unknown.
    index_of = {label: index for index, label in enumerate(labels)}
    wanted = index_of if only is None else {label: index_of[label] for label in only}
    indices = np.array([wanted.get(label, -1) for label in table.labels], dtype=np.int64)
    unknown = _count_unknown(table, index_of) if only is None else Counter[str]()
    if unknown and have_several_labels(table.targets):
        raise InputError(f"{source}: the network does not know the label {_told(unknown)}; it has {_listed(labels)}")
    targets = _renumber(table.targets, indices, classes=len(labels))
    kept = known_pictures(targets)
    if not len(kept) or (indices < 0).all() or _has_no_object(targets, classes=len(labels)):
        sizes = f"{len(table.labels)} in the data ({_listed(table.labels)}), {len(labels)} in the model"
        lacking = "no picture is of the classes asked for" if only is not None else "its classes are not the model's"
        raise InputError(f"{source}: {lacking}: {sizes} ({_listed(labels)})")
    if unknown:
        _log.warning(
            "%s, %s: the network does not know %s; %s", source, table.served, _told(unknown), _loss(table, unknown)
        )
    return MatchedTable(
        labels=tuple(labels),
        served=_served(table, unknown=unknown, only=only),
        targets=targets if len(kept) == len(targets) else cast("ClassTargets", targets)[kept],
        table=table,
        indices=kept,
    )


def _renumber(targets: Targets, numbers: NDArray[np.int64], *, classes: int) -> Targets:
    if isinstance(targets, ObjectTargets):
        return RenumberedObjects(targets=targets, numbers=numbers)
    if isinstance(targets, PixelTargets):
        return RenumberedPixels(targets=targets, numbers=numbers)
    return renumber(targets, numbers, classes=classes)


def _loss(table: Table, unknown: Counter[str]) -> str:
    """Return what happens to the pictures, objects or pixels of unknown classes."""
    if isinstance(table.targets, PixelTargets):
        return "their pixels are ignored"
    things = "objects" if isinstance(table.targets, ObjectTargets) else "images"
    return f"{sum(unknown.values()) or 'all their'} {things} are left out"


def _has_no_object(targets: Targets, *, classes: int) -> bool:
    counts = count_classes(targets, classes=classes) if isinstance(targets, ObjectTargets) else None
    return counts is not None and not counts.any()


def order_classes(table: Table, names: Sequence[str], *, source: str) -> Table:
    """Return a table whose classes are `names`, in this order.

    A source whose classes have only numbers, such as shards without a classes file, gets the names by number. The
    names of any other source stay, and only their order changes. `names` may have more classes than the source.

    Args:
        table: pictures of a source.
        names: class names in the order of the network's outputs.
        source: name of the source in messages.

    Raises:
        InputError: if the source has a class that is not in `names`.
    """
    table, known = name_numbers(table, names, source=source), set(names)
    if missing := [label for label in table.labels if label not in known]:
        raise InputError(f"{source}: its class {missing[0]!r} is not among the {len(names)} names of class_names")
    return match_classes(table, names, source=source)


def name_numbers(table: Table, names: Sequence[str], *, source: str) -> Table:
    """Return a table in which a source's class numbers have names; a source with names of its own stays as it is.

    Raises:
        InputError: if there are more numbers than names.
    """
    are_numbers = all(label.isascii() and label.isdigit() for label in table.labels)
    if not are_numbers or set(table.labels) <= set(names):
        return table
    numbers = [int(label) for label in table.labels]
    if max(numbers) >= len(names):
        raise InputError(f"{source}: has class number {max(numbers)}, but class_names has only {len(names)} names")
    return MatchedTable(
        labels=tuple(names[number] for number in numbers),
        served=table.served,
        targets=table.targets,
        table=table,
        indices=np.arange(len(table.targets)),
    )


def _count_unknown(table: Table, known: Collection[str]) -> Counter[str]:
    """Return the number of images of every class that is not known; classes without images do not matter.

    Where nobody has counted the objects, the number is 0.
    """
    counts = count_classes(table.targets, classes=len(table.labels))
    if counts is None:
        return Counter({label: 0 for label in table.labels if label not in known})
    named = zip(table.labels, counts.tolist(), strict=True)
    return Counter({label: count for label, count in named if count and label not in known})


def _served(table: Table, *, unknown: Counter[str], only: Collection[str] | None) -> str:
    subset = "" if only is None else f", only {_listed(tuple(only))}"
    without = f", without {_told(unknown)}" if unknown else ""
    return f"{table.served}{subset}{without}"


def _told(counts: Counter[str]) -> str:
    """Return `fox (6), elk (2)`, the classes with the most images first."""
    shown = [f"{label} ({count})" if count else label for label, count in counts.most_common(_MOST_NAMED)]
    return ", ".join(shown) + (f" and {len(counts) - _MOST_NAMED} more classes" if len(counts) > _MOST_NAMED else "")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_MOST_NAMED]) + (", ..." if len(labels) > _MOST_NAMED else "")
