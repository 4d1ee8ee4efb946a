"""Several sources as one. Every source keeps its own splits; classes with the same name are one class.

No file may be in two of them. Every source holds out its own part of `train`, so a file could be trained on in one
source and validated on in another.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from parckit.contract import InputError
from parckit.data.datasets import Table
from parckit.data.splits import join_labels
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
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    tables: tuple[Table, ...]

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
        before = 0
        for table in self.tables:
            if index < before + len(table.targets):
                return table, index - before
            before += len(table.targets)
        raise IndexError(index)


def join_tables(tables: Sequence[Table]) -> JoinedTable:
    """Join tables. If all of them have the same classes in the same order, this order stays."""
    labels = join_labels(table.labels for table in tables)
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
    )


def refuse_shared_files(files: Mapping[str, Sequence[str]]) -> None:
    """Refuse a file that is in two sources, under whatever path.

    Args:
        files: source -> paths of its files: images or shards.

    Raises:
        InputError: naming the file and both sources.
    """
    source_of: dict[str, str] = {}
    real_folders: dict[str, str] = {}
    for source, paths in files.items():
        for path in paths:
            # Most files are no links, so only their folder is resolved, once.
            folder, name = os.path.split(path)
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder)
            real = f"{real_folders[folder]}{os.sep}{name}"
            real = os.path.realpath(real) if Path(real).is_symlink() else real
            if source_of.setdefault(real, source) != source:
                both = f"{source_of[real]} and {source}"
                raise InputError(f"source: {path} is in both {both}; keep it in one, or it may be in train and in val")
