"""Several sources as one. Every source keeps its own splits; classes with the same name are one class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.data.datasets import Table
from parckit.data.splits import sort_labels
from parckit.data.targets import ClassTargets, LabelTargets, concatenate, renumber
from parckit.processing import LeftOut


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedTable:
    """The pictures of several tables, one table after the other.

    Attributes:
        labels: class names by index.
        served: which parts of the sources serve as the split.
        targets: class or labels of every picture.
        tables: the tables.
        ends: number of pictures in the tables up to and including each one.
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    tables: tuple[Table, ...]
    ends: NDArray[np.int64]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Return what all tables leave out."""
        return tuple(entry for table in self.tables for entry in table.left_out)

    def name(self, index: int) -> str:
        """Return what errors call picture `index`."""
        table, row = self.locate(index)
        return table.name(row)

    def load(self, index: int) -> Image.Image:
        """Decode picture `index`."""
        table, row = self.locate(index)
        return table.load(row)

    def locate(self, index: int) -> tuple[Table, int]:
        """Return the table that holds picture `index`, and the picture's index in it."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        return self.tables[place], index - (int(self.ends[place - 1]) if place else 0)


def join_tables(tables: Sequence[Table]) -> JoinedTable:
    """Join tables. If all of them have the same classes in the same order, this order stays."""
    orders = {table.labels for table in tables}
    labels = orders.pop() if len(orders) == 1 else sort_labels(label for table in tables for label in table.labels)
    index_of = {label: index for index, label in enumerate(labels)}
    targets = [
        renumber(
            table.targets, np.array([index_of[label] for label in table.labels], dtype=np.int64), classes=len(labels)
        )
        for table in tables
    ]
    served = dict.fromkeys(table.served for table in tables)
    return JoinedTable(
        labels=labels,
        served=" and ".join(served),
        targets=concatenate(targets),
        tables=tuple(tables),
        ends=np.cumsum([len(part) for part in targets]),
    )
