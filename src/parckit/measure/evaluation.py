"""How accurate a checkpoint or bundle is on labelled data: `parckit.evaluate`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, Precision, Task, image_groups, read_class_names
from parckit.data import (
    Batch,
    IndexedImages,
    OnBoxFault,
    OnError,
    Split,
    check_broken,
    check_loading,
    describe_left_out,
    image_loader,
    match_classes,
    name_numbers,
    name_source,
)
from parckit.measure.evaluators import TaskMetric, evaluator_of
from parckit.measure.subset import SubsetSession
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
class EvaluationData:
    """Labelled data to evaluate on; on the command line `--data X` is short for `--data.source X`.

    Attributes:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, a list of files (`.csv`, `.txt`)
            or `hf://NAME`; or a list of these. Detection takes one source with boxes: `digit_scenes`, a COCO .json
            file, a YOLO data.yaml, or a folder of COCO, Pascal VOC or YOLO files.
        split: part of the source. If there is no test part, val or a held-out part of train serves as test, with a
            warning.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        max_broken: if more than this share of the images is broken, `skip` stops too.
        on_box_fault: `drop` drops or cuts faulty boxes, and tells how many there were; `raise` refuses a source with
            faulty boxes, and names the first.
        batch_size: images per batch.
        workers: number of loader processes; 0 loads the images in this process.
        classes: evaluate only the images of these classes, a list or names with commas between, and let only these
            classes be answers; None: all classes that the network knows.
        class_names: text file with the names of the source's classes, one per line, if the source has only numbers, as
            shards without a `classes.txt` have.

    Raises:
        InputError: if `batch_size`, `workers` or `max_broken` is out of range, or `on_error` is unknown.
    """

    source: list[str] | str
    split: Split = "test"
    on_error: OnError = "raise"
    max_broken: float = 0.1
    on_box_fault: OnBoxFault = "drop"
    batch_size: int = 64
    workers: int = 0
    classes: list[str | int] | str | None = None
    class_names: str | None = None

    def __post_init__(self) -> None:
        check_loading(
            batch_size=self.batch_size,
            least=1,
            workers=self.workers,
            on_error=self.on_error,
            max_broken=self.max_broken,
        )

    def limit(self, session: Session) -> Session:
        """Return a session that answers only with the classes that are evaluated.

        Raises:
            InputError: if the network lacks one of `classes`, or there are fewer than two.
        """
        return session if self._only is None else SubsetSession(session, self._only)

    @property
    def _only(self) -> list[str] | None:
        """The names in `classes`. YAML reads names such as 3 as numbers."""
        names = self.classes.split(",") if isinstance(self.classes, str) else self.classes
        return None if names is None else [str(name).strip() for name in names]

    def open(self, session: Session) -> IndexedImages:
        """Open the images, preprocessed as a session expects. Images of classes that the network lacks are left out.

        Raises:
            InputError: if the data cannot be opened, or have no image of the network's classes.
        """
        spec = session.spec
        evaluator = evaluator_of(spec.task, head=spec.head, on_box_fault=self.on_box_fault)
        table = evaluator.open_table(self.source, split=self.split)
        source = name_source(self.source)
        if self.class_names is not None:
            table = name_numbers(table, read_class_names(self.class_names), source=source)
        table = match_classes(table, spec.labels, source=f"--data {source}", only=self._only)
        transform = evaluator.transform(spec.preprocessing, wanted=session.input)
        return IndexedImages(table, transform=transform, on_error=self.on_error)

    def batches(self, dataset: IndexedImages, session: Session) -> Iterable[Batch]:
        """Load the images that `open` returned, in order."""
        collate = evaluator_of(session.spec.task, head=session.spec.head).collate
        return image_loader(dataset, batch_size=self.batch_size, workers=self.workers, collate=collate)

    def check(self, batches: Iterable[Batch], *, images: int) -> Iterable[Batch]:
        """Return the batches, up to the one with which too many images are broken.

        Args:
            batches: batches of the data.
            images: number of images of all batches, with the broken ones.

        Raises:
            InputError: if too many images are broken.
        """
        skipped = 0
        for batch in batches:
            skipped += batch.skipped
            check_broken(
                "images",
                source=name_source(self.source),
                skipped=skipped,
                seen=images,
                expected=images,
                max_broken=self.max_broken,
            )
            yield batch


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
    """

    score: Score
    task: Task
    labels: tuple[str, ...]
    engine: str
    artefact: str
    data: EvaluationData
    served: str
    left_out: str


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
    return evaluate_session(session, data, track=track)


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
