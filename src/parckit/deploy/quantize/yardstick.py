"""The yardstick of a quantization: pictures on which the float network's answers, and its score, are known."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from parckit.data import Batch, IndexedImages, Table, collate_listed, image_loader
from parckit.deploy.quantize.pictures import PartOfTable
from parckit.measure.agreement import Answers, agreement
from parckit.measure.evaluators import evaluator_of
from parckit.measure.tolerance import Tolerance
from parckit.processing import make_decoder
from parckit.runtimes import Outputs, Session

Track = Callable[[Iterable[Batch]], Iterable[Batch]]
"""Returns the batches that it gets, and may show the progress of the work."""

BATCH = 25
"""Pictures whose outputs are compared at once."""
SAME = Tolerance(numbers=np.inf, cosine=-1.0, agreement=0.0, score=0.0, overlap=0.0)
"""Answers of classes, labels and pixels count as they are: rounding to 8 bits may well decide between two classes."""
SAME_BOXES = Tolerance(numbers=np.inf, cosine=-1.0, agreement=0.0, score=0.1, overlap=0.7)
"""Boxes are the same if they overlap by 0.7 and their scores differ by 0.1 at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How good a network is on the pictures of a yardstick.

    Attributes:
        agreement: share of answers, from 0 to 1, that it has in common with the float network; None if no answer
            counts.
        sqnr: ratio of the float network's outputs to their error, decibels.
        score: main metric of the task, percent; None without labels.
    """

    agreement: float | None
    sqnr: float
    score: float | None


@final
class Yardstick:
    """Pictures with the answers of the float network.

    Args:
        session: the float network.
        table: the pictures.
        has_labels: whether their targets are known.
        track: gets the batches of every measurement.
    """

    def __init__(self, session: Session, table: Table, *, has_labels: bool, track: Track = iter) -> None:
        self._session, self._table, self._has_labels, self._track = session, table, has_labels, track
        self._evaluator = evaluator_of(session.spec.task, head=session.spec.head)
        self.images = len(table.targets)

    def part(self, count: int) -> "Yardstick":
        """Return a yardstick of the first pictures, without labels."""
        indices = np.arange(min(count, self.images))
        return Yardstick(self._session, PartOfTable(table=self._table, indices=indices), has_labels=False)

    @cached_property
    def _batches(self) -> list[Batch]:
        transform = self._evaluator.transform if self._has_labels else evaluator_of("classify").transform
        dataset = IndexedImages(
            self._table, transform=transform(self._session.spec.preprocessing, wanted=self._session.input)
        )
        # Without labels nobody looks at the targets, of whatever kind they are.
        collate = self._evaluator.collate if self._has_labels else collate_listed
        return list(self._track(image_loader(dataset, batch_size=BATCH, collate=collate)))

    @cached_property
    def _expected(self) -> list[Outputs]:
        return [_run(self._session, batch) for batch in self._batches]

    @cached_property
    def reference(self) -> Measure:
        """The float network itself."""
        return self.measure(self._session)

    def measure(self, session: Session) -> Measure:
        """Compare a network with the float network."""
        metric = self._evaluator.metric(session.spec) if self._has_labels else None
        decode = make_decoder(session.decoder, session.spec, overrides=self._evaluator.decoding)
        shares: list[tuple[float, int]] = []
        signal = noise = 0.0
        for batch, expected in zip(self._batches, self._expected, strict=True):
            actual = _run(session, batch)
            answers = Answers(
                expected=expected,
                actual=actual,
                decoder=session.decoder,
                spec=session.spec,
                geometries=batch.geometries,
            )
            share = agreement(answers, SAME_BOXES if session.spec.task == "detect" else SAME)
            shares += [] if share is None else [(share, len(batch.images))]
            for one, other in zip(expected, actual, strict=True):
                signal += float(np.square(one, dtype=np.float64).sum())
                noise += float(np.square(one.astype(np.float64) - other.astype(np.float64)).sum())
            if metric is not None:
                metric.update(decode(actual, batch.geometries), batch.targets)
        weight = sum(count for _, count in shares)
        return Measure(
            agreement=sum(share * count for share, count in shares) / weight if weight else None,
            sqnr=ratio_in_decibels(signal, noise),
            score=None if metric is None else next(iter(metric.compute().values())),
        )


def ratio_in_decibels(signal: float, noise: float) -> float:
    """Return the ratio of two sums of squares; 200 stands for no noise, or for no signal and no noise."""
    return 200.0 if noise <= 1e-20 * signal else -200.0 if not signal else 10 * float(np.log10(signal / noise))


def _run(session: Session, batch: Batch) -> Outputs:
    return session(batch.images.numpy())
