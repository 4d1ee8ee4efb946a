"""How well a checkpoint or bundle does on labelled data: `parckit.evaluate`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parckit.contract import InputError, NetworkSpec, Precision
from parckit.data import Batch, IndexedImages, OnError, Split, eval_transform, image_loader, open_images
from parckit.measure.classification import ClassificationMetric
from parckit.runtimes import Images, Outputs, Session, open_session

Item = TypeVar("Item")
Track = Callable[[Iterable[Item]], Iterable[Item]]
"""Passes items through, perhaps showing how far the work has come."""


class TaskMetric(Protocol):
    """What the metrics of all tasks offer; each is a torchmetrics Metric."""

    def update(self, outputs: Sequence[Tensor], targets: Tensor) -> None:
        """Add a batch: what the network returned for it, and what is true."""
        ...

    def compute(self) -> Mapping[str, float]:
        """Return the scalars by name."""
        ...

    def tables(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Return what is no scalar, such as a confusion matrix, by name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationData:
    """Labelled data to evaluate on; on the command line `--data X` is short for `--data.source X`.

    Attributes:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, or `hf://NAME`.
        split: which part of the source; without a test part, val or a held-out part of train serves, with a warning.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        batch_size: images at once.
        workers: loader processes; 0 loads in this one.

    Raises:
        InputError: if `batch_size` or `workers` is out of range.
    """

    source: str
    split: Split = "test"
    on_error: OnError = "raise"
    batch_size: int = 64
    workers: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0:
            raise InputError(
                f"--data.batch_size {self.batch_size}, --data.workers {self.workers}: need at least 1 and at least 0"
            )

    def open(self, spec: NetworkSpec) -> IndexedImages:
        """Open the images, preprocessed as a network expects them.

        Raises:
            InputError: if the data's classes are not the network's.
        """
        transform = eval_transform(spec.preprocessing)
        dataset = open_images(self.source, split=self.split, transform=transform, on_error=self.on_error)
        _check_classes(dataset.labels, spec.labels, source=self.source)
        return dataset

    def batches(self, dataset: IndexedImages) -> Iterable[Batch]:
        """Load the images that `open` returned, in order."""
        return image_loader(dataset, batch_size=self.batch_size, workers=self.workers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a metric says.

    Attributes:
        scalars: by name; a classifier has `top1` and `top5`, percent.
        tables: by name; a classifier has `confusion`.
        images: number of images that counted.
        skipped: broken images that were left out.
    """

    scalars: Mapping[str, float]
    tables: Mapping[str, npt.NDArray[np.generic]]
    images: int
    skipped: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A score, and what it was measured on.

    Attributes:
        score: what the metric says.
        labels: class names by index.
        engine: name and version.
        artefact: name of the artefact or checkpoint.
        data: the data.
        served: what of the source served as the split.
    """

    score: Score
    labels: tuple[str, ...]
    engine: str
    artefact: str
    data: EvaluationData
    served: str


def evaluate(
    path: Path | str,
    data: EvaluationData | str,
    *,
    runtime: str | None = None,
    precision: Precision | None = None,
    artefact: str | None = None,
    threads: int | None = None,
    track: "Track[Batch]" = iter,
) -> Evaluation:
    """Evaluate a checkpoint or bundle on labelled data.

    Args:
        path: a bundle's folder, a checkpoint, or the name of weights that ship with parckit.
        data: the data, or its source alone.
        runtime: the engine; by default the first one that fits.
        precision: choose among a bundle's artefacts by their precision.
        artefact: choose a bundle's artefact by its name.
        threads: threads of one inference; None leaves the number to the engine.
        track: sees the batches as they are evaluated.

    Raises:
        InputError: if something cannot be opened, or the data's classes are not the network's.
    """
    session = open_session(path, runtime=runtime, precision=precision, artefact=artefact, threads=threads)
    data = EvaluationData(source=data) if isinstance(data, str) else data
    return evaluate_session(session, data, track=track)


def evaluate_session(session: Session, data: EvaluationData, *, track: "Track[Batch]" = iter) -> Evaluation:
    """Evaluate an open session; see `evaluate`."""
    dataset = data.open(session.spec)
    metric = make_metric(session.spec)
    return Evaluation(
        score=score(session, track(data.batches(dataset)), metric),
        labels=session.spec.labels,
        engine=session.engine,
        artefact=session.artefact,
        data=data,
        served=dataset.served,
    )


def make_metric(spec: NetworkSpec) -> ClassificationMetric:
    """Return the metric of a network's task.

    Raises:
        InputError: if this version has none.
    """
    if spec.task != "classify":
        raise InputError(f"task={spec.task!r}: this version measures 'classify'")
    return ClassificationMetric(len(spec.labels))


def score(predict: Callable[[Images], Outputs], batches: Iterable[Batch], metric: TaskMetric) -> Score:
    """Run anything that takes images on batches, and let a metric judge it.

    Args:
        predict: a session, or any function from images to a tuple of arrays.
        batches: images with what is true of them.
        metric: judges the outputs; begins empty.

    Raises:
        InputError: if there is not one image.
    """
    images = skipped = 0
    for batch in batches:
        skipped += batch.skipped
        if len(batch.targets):
            outputs = predict(batch.images.numpy())
            metric.update([torch.from_numpy(output) for output in outputs], batch.targets)
            images += len(batch.targets)
    if not images:
        raise InputError(f"no images to evaluate ({skipped} broken ones were skipped)")
    return Score(scalars=dict(metric.compute()), tables=dict(metric.tables()), images=images, skipped=skipped)


def _check_classes(classes: Sequence[str], labels: Sequence[str], *, source: str) -> None:
    if tuple(classes) != tuple(labels):
        pairs = enumerate(zip_longest(classes, labels))
        index, (in_data, in_model) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        differ = f"{len(classes)} and {len(labels)}; class {index} is {in_data!r}, the model's {in_model!r}"
        raise InputError(f"--data {source}: its classes are not the model's ({differ})")
