"""How accurate a checkpoint or bundle is on labelled data: `parckit.evaluate`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, Precision, Task, image_groups
from parckit.data import Batch, describe_left_out
from parckit.measure.digest import digest_of
from parckit.measure.evaluation_data import EvaluationData
from parckit.measure.evaluators import TaskMetric, evaluator_of
from parckit.processing import make_decoder
from parckit.runtimes import Session, open_session

Item = TypeVar("Item")
Track = Callable[[Iterable[Item]], Iterable[Item]]
"""Returns the items that it gets, and may show the progress of the work."""
Watch = Callable[[Batch, Sequence[Any]], None]
"""Gets a batch and its decoded answers."""
Predict = Callable[[Batch], Sequence[Any]]
"""Returns one decoded answer for each image of a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The results of a metric.

    Attributes:
        scalars: numbers by name; a classifier has `top1` and `top5`, percent.
        tables: arrays by name; a classifier has `confusion` and the numbers of every class (`ClassificationMetric`).
        images: number of images that were counted.
        skipped: number of broken images that were left out.
    """

    scalars: Mapping[str, float]
    tables: Mapping[str, npt.NDArray[np.generic]]
    images: int
    skipped: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A score, and the model, engine and data that it was measured with.

    Attributes:
        score: the results of the metric.
        task: what the network is for.
        labels: class names by index.
        engine: name and version of the engine.
        artefact: name of the artefact or checkpoint.
        data: the data.
        served: which part of the source served as the split.
        left_out: what the source holds and the evaluation does not see, in words.
        sha256: digest of the files of the artefact or checkpoint; None if only a session is known.
    """

    score: Score
    task: Task
    labels: tuple[str, ...]
    engine: str
    artefact: str
    data: EvaluationData
    served: str
    left_out: str
    sha256: str | None = None


def evaluate(
    path: Path | str,
    data: EvaluationData | Path | str,
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
        data: the data, or only its source.
        runtime: name of the engine; by default the first one that fits.
        precision: chooses an artefact of a bundle by its precision.
        artefact: chooses an artefact of a bundle by its name.
        threads: threads per inference; None leaves the number to the engine.
        track: gets the batches while they are evaluated.

    Raises:
        InputError: if the model or the data cannot be opened, or they have no class in common.
    """
    session = open_session(path, runtime=runtime, precision=precision, artefact=artefact, threads=threads)
    data = data if isinstance(data, EvaluationData) else EvaluationData(source=str(data))
    # The digest is taken before the work, which may be long, and in which the files may be replaced.
    sha256 = digest_of(path, artefact=session.artefact)
    return replace(evaluate_session(session, data, track=track), sha256=sha256)


def evaluate_session(
    session: Session, data: EvaluationData, *, track: "Track[Batch]" = iter, watch: Watch | None = None
) -> Evaluation:
    """Evaluate an open session; see `evaluate`.

    Args:
        session: the session.
        data: the data.
        track: gets the batches while they are evaluated.
        watch: gets every batch and its answers.
    """
    session = data.limit(session)
    evaluator = evaluator_of(session.spec.task, head=session.spec.head)
    decoder = make_decoder(session.decoder, session.spec, overrides=evaluator.decoding)

    def predict(batch: Batch) -> Sequence[object]:
        images, geometries = batch.images.numpy(), batch.geometries
        groups = image_groups(session.outputs, count=len(images))
        answers = [answer for group in groups for answer in decoder(session(images[group]), geometries[group])]
        if watch is not None:
            watch(batch, answers)
        return answers

    dataset = data.open(session)
    batches = data.check(track(data.batches(dataset, session)), images=len(dataset))
    return Evaluation(
        score=score(predict, batches, evaluator.metric(session.spec)),
        task=session.spec.task,
        labels=session.spec.labels,
        engine=session.engine,
        artefact=session.artefact,
        data=data,
        served=dataset.table.served,
        left_out=describe_left_out(dataset.table.left_out),
    )


def score(predict: Predict, batches: Iterable[Batch], metric: TaskMetric) -> Score:
    """Run a function on all batches and compute the metric of its answers.

    Args:
        predict: any function from a batch to decoded answers.
        batches: images and their targets.
        metric: an empty metric.

    Raises:
        InputError: if there is no image.
    """
    images = skipped = 0
    for batch in batches:
        skipped += batch.skipped
        if len(batch.targets):
            metric.update(predict(batch), batch.targets)
            images += len(batch.targets)
    if not images:
        raise InputError(f"no images to evaluate ({skipped} broken ones were skipped)")
    return Score(scalars=dict(metric.compute()), tables=dict(metric.tables()), images=images, skipped=skipped)
