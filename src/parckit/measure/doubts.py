"""Which pictures have a class that a network doubts most: wrong labels are among them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import cast

from parckit.contract import InputError
from parckit.data import Batch, IndexedImages, Sample, Source, Table, collate_classes
from parckit.measure.evaluation import EvaluationData
from parckit.processing import ClassPrediction, make_decoder
from parckit.runtimes import Session, open_session

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A picture whose class is not the network's answer.

    Attributes:
        name: the picture.
        label: its class.
        probability: what the network gives to this class, 0 to 1.
        answer: the network's answer.
        confidence: what the network gives to its answer, 0 to 1.
    """

    name: str
    label: str
    probability: float
    answer: str
    confidence: float


def find_doubts(
    model: Path | str,
    source: Source,
    *,
    most: int,
    threads: int = 1,
    track: Callable[[Iterable[Sample | None]], Iterable[Sample | None]] = iter,
) -> list[Doubt]:
    """Return the pictures whose class a classifier doubts most, the most doubtful one first.

    Broken pictures are left out. A network doubts pictures that it was trained on less, even if their class is wrong.

    Args:
        model: a bundle, a checkpoint or the name of shipped weights.
        source: all pictures of this source are looked at.
        most: number of pictures to return.
        threads: number of pictures that are decoded at once.
        track: gets the pictures in order, and may show the progress.

    Raises:
        InputError: if the model is no classifier, or its classes are not those of the source.
    """
    session = open_session(model)
    if session.spec.task != "classify":
        raise InputError(f"{model}: is no classifier")
    data = EvaluationData(source=source if isinstance(source, str) else list(source), split="all", on_error="skip")
    dataset = data.open(session)
    doubts: list[Doubt] = []
    with ThreadPool(threads) as pool:
        samples = enumerate(track(_decode(dataset, pool)))
        for names, batch in _batches(samples, dataset.table):
            doubts += _doubts_of(batch, names, session)
    return sorted(doubts, key=lambda doubt: doubt.probability - doubt.confidence)[:most]


def _batches(samples: Iterator[tuple[int, Sample | None]], table: Table) -> Iterator[tuple[list[str], Batch]]:
    """Yield batches of intact pictures, with the names of the pictures."""
    while chunk := list(islice(samples, _BATCH)):
        batch = collate_classes([sample for _, sample in chunk])
        if len(batch.targets):
            yield [table.name(index) for index, sample in chunk if sample is not None], batch


def _doubts_of(batch: Batch, names: Sequence[str], session: Session) -> list[Doubt]:
    labels = session.spec.labels
    decoder = make_decoder(session.decoder, session.spec, overrides={"top": len(labels), "threshold": 0.0})
    answers = cast("list[ClassPrediction]", decoder(session(batch.images.numpy()), batch.geometries))
    truths = [labels[target] for target in batch.targets.tolist()]
    return [
        _doubt(name, label=label, answer=answer)
        for name, label, answer in zip(names, truths, answers, strict=True)
        if answer.label != label
    ]


def _decode(dataset: IndexedImages, pool: ThreadPool) -> Iterator[Sample | None]:
    """Yield all samples in order. At most two batches are in memory: one is answered, and the next one is decoded."""
    ahead: list[AsyncResult[list[Sample | None]]] = []
    for start in range(0, len(dataset), _BATCH):
        indices = range(start, min(start + _BATCH, len(dataset)))
        ahead.append(pool.map_async(dataset.__getitem__, indices))
        if len(ahead) > 1:
            yield from ahead.pop(0).get()
    for decoded in ahead:
        yield from decoded.get()


def _doubt(name: str, *, label: str, answer: ClassPrediction) -> Doubt:
    probability = next(score.probability for score in answer.ranking if score.label == label)
    return Doubt(name=name, label=label, probability=probability, answer=answer.label, confidence=answer.probability)
