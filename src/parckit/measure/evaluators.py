"""The table of evaluators: how the networks of a task are evaluated, in training and on every engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, InputSpec, NetworkSpec, Preprocessing, Setting, Task
from parckit.data import (
    Collate,
    OnBoxFault,
    OnMaskFault,
    OpenTable,
    Target,
    Transform,
    collate_classes,
    collate_labels,
    collate_listed,
    eval_mask_transform,
    eval_scene_transform,
    eval_transform,
    open_box_table,
    open_label_table,
    open_mask_table,
    open_table,
)
from parckit.measure.classification import ClassificationMetric
from parckit.measure.detection import detection_metric
from parckit.measure.multilabel import LabelMetric
from parckit.measure.segmentation import SegmentationMetric
from parckit.networks import HEADS


class TaskMetric(Protocol):
    """The interface of the metrics of all tasks. They are torchmetrics Metrics over decoded answers."""

    def update(self, predictions: Sequence[Any], targets: Target) -> None:
        """Add a batch.

        Args:
            predictions: what the task's decoder made of the network's outputs, one for each image.
            targets: the ground truth, as `Evaluator.collate` puts it into a batch.
        """
        ...

    def compute(self) -> Mapping[str, float]:
        """Return the scalars by name, all in percent."""
        ...

    def tables(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Return the results that are not scalars, such as a confusion matrix, by name."""
        ...


class _MakeTransform(Protocol):
    def __call__(self, preprocessing: Preprocessing, *, wanted: InputSpec = ...) -> Transform: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluator:
    """How the networks of a task are evaluated.

    Attributes:
        open_table: opens a split of a source.
        transform: returns the evaluation preprocessing of a picture and its target, for a network's input.
        collate: makes a batch of samples.
        metric: makes an empty metric for a network.
        decoding: the metric needs these values in place of the decoder's defaults.
    """

    open_table: OpenTable
    transform: _MakeTransform
    collate: Collate
    metric: Callable[[NetworkSpec], TaskMetric]
    decoding: Mapping[str, Setting]


EVALUATORS: Mapping[Task, Evaluator] = {
    "classify": Evaluator(
        open_table=open_table,
        transform=eval_transform,
        collate=collate_classes,
        metric=lambda spec: ClassificationMetric(len(spec.labels)),
        decoding={"top": 5, "threshold": 0.0},
    ),
    "multilabel": Evaluator(
        open_table=open_label_table,
        transform=eval_transform,
        collate=collate_labels,
        metric=lambda spec: LabelMetric(len(spec.labels)),
        decoding={},
    ),
    "detect": Evaluator(
        open_table=open_box_table,
        transform=eval_scene_transform,
        collate=collate_listed,
        metric=detection_metric,
        # COCO looks at the 100 best boxes of a picture, also at unlikely ones.
        decoding={"threshold": 0.01, "most": 100},
    ),
    "segment": Evaluator(
        open_table=open_mask_table,
        transform=eval_mask_transform,
        collate=collate_listed,
        metric=lambda spec: SegmentationMetric(len(spec.labels)),
        decoding={},
    ),
}


def evaluator_of(
    task: Task, *, head: str | None = None, on_box_fault: OnBoxFault = "drop", on_mask_fault: OnMaskFault = "drop"
) -> Evaluator:
    """Return the evaluator of a task.

    Args:
        task: the task.
        head: the networks' head. If it gives masks, the source is opened with masks where every object has one.
        on_box_fault: what happens to faulty boxes of the source.
        on_mask_fault: what happens to faulty masks of the source, in segmentation.

    Raises:
        InputError: if faulty boxes or masks are asked about where there are none.
    """
    if task != "detect" and on_box_fault != "drop":
        raise InputError(f"on_box_fault={on_box_fault}: only boxes have such faults; the task {task} has none")
    if task != "segment" and on_mask_fault != "drop":
        raise InputError(f"on_mask_fault={on_mask_fault}: is for the task segment, not {task}")
    evaluator = EVALUATORS[task]
    if task == "segment":
        return replace(evaluator, open_table=partial(open_mask_table, on_mask_fault=on_mask_fault))
    if task != "detect":
        return evaluator
    known = HEADS.get((task, head or ""))
    masks = None if known is not None and known.has_masks else False
    return replace(evaluator, open_table=partial(open_box_table, masks=masks, on_box_fault=on_box_fault))
