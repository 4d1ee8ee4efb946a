"""How the results of a task's metric are shown: headings, the table of classes and a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from parckit.contract import InputError, Task
from parckit.report.plots import confusion_matrix

Tables = Mapping[str, npt.NDArray[np.generic]]
"""The results of a metric that are not scalars, by name."""


class ClassRow(NamedTuple):
    """The results of one class.

    Attributes:
        label: the class.
        counted: what was counted, such as images of the class.
        rates: rates in percent, in the order of `ResultView.class_rates`; None if there was nothing to count.
    """

    label: str
    counted: int
    rates: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultView:
    """How the results of a task are shown.

    Attributes:
        titles: name of a scalar -> its heading. The first scalar is the one that a page begins with.
        class_count: name of the table that counts something for every class, and its heading.
        class_rates: name of a table with a rate for every class -> its heading. The last rate says how good a class is.
        picture: what `draw` shows, two words at most.
        draw: draws tables for class names.
        describe: says in a sentence what the picture shows, for readers who cannot see it.
    """

    titles: Mapping[str, str]
    class_count: tuple[str, str]
    class_rates: Mapping[str, str]
    picture: str
    draw: Callable[[Tables, Sequence[str]], Figure]
    describe: Callable[[Tables], str]

    def class_rows(self, tables: Tables, labels: Sequence[str]) -> list[ClassRow]:
        """Return the results of every class, in the order of the classes."""
        counts = tables[self.class_count[0]].tolist()
        rates = zip(*(map(_known, tables[name].tolist()) for name in self.class_rates), strict=True)
        return [ClassRow(*row) for row in zip(labels, counts, rates, strict=True)]


def _known(rate: float) -> float | None:
    return None if isnan(rate) else rate


def worst_rows(rows: Sequence[ClassRow], *, most: int) -> list[ClassRow]:
    """Return the classes with the lowest last rate, the lowest first; classes without one come last."""
    return sorted(rows, key=lambda row: (row.rates[-1] is None, row.rates[-1] or 0.0, -row.counted))[:most]


def _draw_confusion(tables: Tables, labels: Sequence[str]) -> Figure:
    return confusion_matrix(tables["confusion"].astype(np.int64), labels)


def _describe_confusion(tables: Tables) -> str:
    confusion = tables["confusion"].astype(np.int64)
    return f"{confusion.trace()} of {confusion.sum()} images lie on the diagonal."


RESULT_VIEWS: Mapping[Task, ResultView] = {
    "classify": ResultView(
        titles={"top1": "top-1", "top5": "top-5"},
        class_count=("class_images", "images"),
        class_rates={"class_precision": "precision", "class_recall": "recall", "class_f1": "F1"},
        picture="confusion matrix",
        draw=_draw_confusion,
        describe=_describe_confusion,
    ),
}


def result_view(task: Task) -> ResultView:
    """Return how the results of a task are shown.

    Raises:
        InputError: if this version cannot show the task's results.
    """
    if task not in RESULT_VIEWS:
        raise InputError(f"task={task!r}: this version shows results of {', '.join(RESULT_VIEWS)}")
    return RESULT_VIEWS[task]
