"""How the results of a task's metric are shown: headings, the table of classes and a picture."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from parckit.contract import InputError, Task
from parckit.data import Scene
from parckit.measure.box_pairs import SURE, compare_boxes, objects_in_picture
from parckit.processing import BoxPrediction, ClassPrediction, Geometry, LabelPrediction
from parckit.report.bars import average_precisions
from parckit.report.box_marks import mark_boxes
from parckit.report.confusion import confusion_matrix
from parckit.report.curves import precision_recall
from parckit.report.judgement import Judgement
from parckit.report.pixel_marks import judge_pixels, mark_pixels

Tables = Mapping[str, npt.NDArray[np.generic]]
"""The results of a metric that are not scalars, by name."""

Judge = Callable[[Any, Any, Sequence[str]], Judgement]
"""Takes an answer, its target and the class names. Only the task knows the types of the first two."""


class ClassRow(NamedTuple):
    """The results of one class.

    Attributes:
        label: the class.
        counted: what was counted, such as images of the class.
        rates: rates in percent, in the order of `ResultView.class_rates`; None if there was nothing to count.
        values: other numbers, in the order of `ResultView.class_values`; None if there was nothing to count.
    """

    label: str
    counted: int
    rates: tuple[float | None, ...]
    values: tuple[float | None, ...] = ()


class ResultPicture(NamedTuple):
    """A picture of results.

    Attributes:
        title: what it shows, two words at most.
        draw: draws tables for class names.
        describe: says in a sentence what the picture shows, for readers who cannot see it.
        note: how to read it, in a sentence; may be empty.
    """

    title: str
    draw: Callable[[Tables, Sequence[str]], Figure]
    describe: Callable[[Tables], str]
    note: str = ""


Mark = Callable[[npt.NDArray[np.uint8], Any, Any, Geometry], npt.NDArray[np.uint8]]
"""Takes a network's input as pixels, an answer, its target and where the input lies in the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultView:
    """How the results of a task are shown.

    Attributes:
        titles: name of a scalar -> its heading. The first scalar is the one that a page begins with.
        class_count: name of the table that counts something for every class, and its heading.
        class_rates: name of a table with a rate for every class -> its heading. The last rate says how good a class is.
        class_values: name of a table with another number for every class -> its heading.
        pictures: what is drawn of the tables; `parckit eval` draws the first one.
        judge: compares an answer with the truth, as the target of the picture holds it.
        mark: draws an answer and the truth on a picture; None if words say all.
        legend: what `mark` draws, in a sentence.
        rank_title: what `Judgement.rank_value` is.
    """

    titles: Mapping[str, str]
    class_count: tuple[str, str]
    class_rates: Mapping[str, str]
    class_values: Mapping[str, str] = field(default_factory=dict[str, str])
    pictures: tuple[ResultPicture, ...]
    judge: Judge
    mark: Mark | None = None
    legend: str = ""
    rank_title: str = "confidence"

    def class_rows(self, tables: Tables, labels: Sequence[str]) -> list[ClassRow]:
        """Return the results of every class, in the order of the classes."""
        counts = tables[self.class_count[0]].tolist()
        return [
            ClassRow(
                label, counts[index], _row(tables, self.class_rates, index), _row(tables, self.class_values, index)
            )
            for index, label in enumerate(labels)
        ]


def _row(tables: Tables, names: Iterable[str], index: int) -> tuple[float | None, ...]:
    values = (float(tables[name][index]) for name in names)
    return tuple(None if isnan(value) else value for value in values)


def worst_rows(rows: Sequence[ClassRow], *, most: int) -> list[ClassRow]:
    """Return the classes with the lowest last rate, the lowest first; classes without one come last."""
    return sorted(rows, key=lambda row: (row.rates[-1] is None, row.rates[-1] or 0.0, -row.counted))[:most]


def _draw_confusion(tables: Tables, labels: Sequence[str]) -> Figure:
    return confusion_matrix(tables["confusion"].astype(np.int64), labels)


def _describe_confusion(tables: Tables) -> str:
    confusion = tables["confusion"].astype(np.int64)
    return f"{confusion.trace()} of {confusion.sum()} images lie on the diagonal."


def _judge_class(answer: ClassPrediction, target: Any, labels: Sequence[str]) -> Judgement:  # noqa: ANN401 - see Judge
    truth = labels[int(target)]
    return Judgement(truth, answer.label, answer.probability, is_right=answer.label == truth)


def _draw_precisions(tables: Tables, labels: Sequence[str]) -> Figure:
    return average_precisions(tables["class_ap"].astype(np.float64), tables["class_images"].astype(np.int64), labels)


def _describe_precisions(tables: Tables, *, name: str = "class_ap") -> str:
    precisions = tables[name].astype(np.float64)
    known = precisions[~np.isnan(precisions)]
    return f"The average precision of {len(known)} classes lies between {known.min():.0f} and {known.max():.0f} %."


def _judge_labels(answer: LabelPrediction, target: Any, labels: Sequence[str]) -> Judgement:  # noqa: ANN401 - see Judge
    truth = [label for label, value in zip(labels, target, strict=True) if value]
    sure = {score.label: score.probability if score.is_present else 1 - score.probability for score in answer.ranking}
    wrong = set(truth) ^ set(answer.labels)
    confidence = max(sure[label] for label in wrong) if wrong else min(sure.values())
    told = [label for label in labels if label in answer.labels]
    return Judgement(
        truth=", ".join(truth) or _NO_LABEL,
        answer=", ".join(told) or _NO_LABEL,
        rank_value=confidence,
        is_right=not wrong,
    )


_NO_LABEL = "no label"


def _draw_curves(tables: Tables, labels: Sequence[str]) -> Figure:
    return precision_recall(tables["precision"].astype(np.float64), tables["class_ap_50"].astype(np.float64), labels)


def _draw_box_confusion(tables: Tables, labels: Sequence[str]) -> Figure:
    return confusion_matrix(tables["confusion"].astype(np.int64), labels, extra="background")


def _describe_box_confusion(tables: Tables) -> str:
    confusion = tables["confusion"].astype(np.int64)
    objects, missed, invented = confusion[:-1].sum(), confusion[:-1, -1].sum(), confusion[-1].sum()
    return f"{confusion.trace()} of {objects} objects lie on the diagonal; {missed} were missed, {invented} invented."


def _judge_boxes(answer: BoxPrediction, target: Scene, labels: Sequence[str]) -> Judgement:
    confusion = compare_boxes(answer, objects_in_picture(target)).confusion(len(labels))
    is_right = int(confusion.trace()) == int(confusion.sum())
    counts = (confusion[:-1].sum(axis=1), confusion[:, :-1].sum(axis=0))
    texts = [
        ", ".join(f"{count} × {label}" for label, count in zip(labels, row.tolist(), strict=True) if count)
        or _NO_OBJECT
        for row in counts
    ]
    return Judgement(texts[0], texts[1], _confidence(answer.scores, is_right=is_right), is_right=is_right)


def _confidence(scores: npt.NDArray[np.float32], *, is_right: bool) -> float:
    """Return the score of the least sure box of a right answer, and of the surest box of a wrong one.

    Of an answer without boxes, it is how sure the network is that there is no object.
    """
    sure = scores[scores > SURE]
    if not len(sure):
        return 1 - float(scores.max(initial=0))
    return float(sure.min() if is_right else sure.max())


_NO_OBJECT = "no object"


def _draw_pixel_confusion(tables: Tables, labels: Sequence[str]) -> Figure:
    confusion = tables["confusion"].astype(np.int64)
    if not confusion[:, -1].any():
        return confusion_matrix(confusion[:, :-1], labels, in_percent=True)
    square = np.pad(confusion, ((0, 1), (0, 0)))  # pixels without a true class do not count
    return confusion_matrix(square, labels, extra="no answer", in_percent=True)


def _describe_pixel_confusion(tables: Tables) -> str:
    confusion = tables["confusion"].astype(np.int64)
    return f"{confusion.trace():,} of {confusion.sum():,} pixels lie on the diagonal."


RESULT_VIEWS: Mapping[Task, ResultView] = {
    "classify": ResultView(
        titles={"top1": "top-1", "top5": "top-5"},
        class_count=("class_images", "images"),
        class_rates={"class_precision": "precision", "class_recall": "recall", "class_f1": "F1"},
        pictures=(ResultPicture("confusion matrix", _draw_confusion, _describe_confusion),),
        judge=_judge_class,
    ),
    "multilabel": ResultView(
        titles={
            "map": "mean average precision (mAP)",
            "f1_macro": "mean F1 of the classes",
            "f1_micro": "F1 of all labels",
        },
        class_count=("class_images", "images"),
        class_rates={
            "class_precision": "precision",
            "class_recall": "recall",
            "class_f1": "F1",
            "class_ap": "average precision",
        },
        class_values={"class_best_threshold": "best threshold"},
        pictures=(ResultPicture("average precision", _draw_precisions, _describe_precisions),),
        judge=_judge_labels,
    ),
    "detect": ResultView(
        titles={
            "map": "mAP",
            "map_50": "mAP at IoU 0.5",
            "map_75": "mAP at IoU 0.75",
            "map_small": "mAP, small objects",
            "map_medium": "mAP, medium objects",
            "map_large": "mAP, large objects",
            "mar_100": "mean recall, 100 boxes",
            "segm_map": "mask mAP",
            "segm_map_50": "mask mAP at IoU 0.5",
            "segm_map_75": "mask mAP at IoU 0.75",
        },
        class_count=("class_boxes", "objects"),
        class_rates={"class_ap_50": "AP at IoU 0.5", "class_ap": "AP"},
        pictures=(
            ResultPicture("precision and recall", _draw_curves, partial(_describe_precisions, name="class_ap_50")),
            ResultPicture(
                "confusion matrix",
                _draw_box_confusion,
                _describe_box_confusion,
                f"Boxes with a score above {SURE} count for the object that they overlap at least by half. ",
            ),
        ),
        judge=_judge_boxes,
        mark=mark_boxes,
        legend=(
            "Dashed: the true boxes. Solid: the boxes found. Blue: right. Orange: wrong or missed; the word is the "
            "class that was found."
        ),
    ),
    "segment": ResultView(
        titles={
            "miou": "mean IoU",
            "mean_accuracy": "mean accuracy of the classes",
            "pixel_accuracy": "pixel accuracy",
            "boundary_iou": "mean IoU near boundaries",
        },
        class_count=("class_pixels", "pixels"),
        class_rates={"class_boundary_iou": "IoU near boundaries", "class_accuracy": "accuracy", "class_iou": "IoU"},
        pictures=(
            ResultPicture(
                "confusion matrix",
                _draw_pixel_confusion,
                _describe_pixel_confusion,
                "The cells show which percentage of the pixels of a class (row) got which answer (column). ",
            ),
        ),
        judge=judge_pixels,
        mark=mark_pixels,
        rank_title="share of wrong pixels",
        legend=(
            "First the answer, then the truth. Wrong pixels have the full colour of their class, right ones are "
            "translucent. White: nobody knows the class."
        ),
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
