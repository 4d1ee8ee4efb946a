"""The yardstick of a quantization: pictures on which the float network's answers, and its score, are known.

10,000 pictures of 224x224 are 6 GB, and the maps of a segmenter may be as many. So only some pictures are kept in
memory; the others are read again for every measurement. The float network's outputs wait in a temporary file.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from tempfile import TemporaryFile
from typing import IO, final
from weakref import finalize

import numpy as np

from parckit.data import Batch, IndexedImages, Table, collate_listed, image_loader
from parckit.deploy.quantize.pictures import PartOfTable
from parckit.measure.agreement import Answers, agreement
from parckit.measure.evaluators import evaluator_of
from parckit.measure.tolerance import Tolerance
from parckit.processing import make_decoder
from parckit.runtimes import Outputs, Session

Track = Callable[[Iterable[int]], Iterable[int]]
"""Returns the numbers of batches that it gets, and may show the progress of the work."""

BATCH = 25
"""Pictures whose outputs are compared at once."""
_MOST_BYTES = 1 << 28
"""Pictures and masks that are kept in memory: more than 400 pictures of 224x224. A sensitivity analysis, which measures
300 pictures some hundred times, decodes none of them twice.
"""
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
        track: gets the numbers of the batches while the float network answers them.
    """

    def __init__(self, session: Session, table: Table, *, has_labels: bool, track: Track = iter) -> None:
        self._session, self._table, self._has_labels, self._track = session, table, has_labels, track
        self._evaluator = evaluator_of(session.spec.task, head=session.spec.head)
        self.images = len(table.targets)
        self._kept: list[Batch] = []

    def part(self, count: int) -> "Yardstick":
        """Return a yardstick of the first pictures, without labels."""
        indices = np.arange(min(count, self.images))
        return Yardstick(self._session, PartOfTable(table=self._table, indices=indices), has_labels=False)

    def _read(self) -> Iterator[Batch]:
        """Yield the batches: those that are kept, then the others, which are kept while there is room."""
        yield from self._kept
        rest = PartOfTable(table=self._table, indices=np.arange(len(self._kept) * BATCH, self.images))
        transform = self._evaluator.transform if self._has_labels else evaluator_of("classify").transform
        dataset = IndexedImages(rest, transform=transform(self._session.spec.preprocessing, wanted=self._session.input))
        # Without labels nobody looks at the targets, of whatever kind they are.
        collate = self._evaluator.collate if self._has_labels else collate_listed
        room = _MOST_BYTES - sum(map(_bytes_of, self._kept))
        for batch in image_loader(dataset, batch_size=BATCH, collate=collate):
            room -= _bytes_of(batch)
            if room >= 0:
                self._kept.append(batch)
            yield batch

    @cached_property
    def _answers(self) -> IO[bytes]:
        """The outputs of the float network in a file without a name, one array after the other."""
        file = TemporaryFile()  # noqa: SIM115 - it lives as long as the yardstick
        finalize(self, file.close)
        for _, batch in zip(self._track(range(ceil(self.images / BATCH))), self._read(), strict=True):
            for output in _run(self._session, batch):
                np.save(file, output)
        return file

    def _expected(self) -> Iterator[Outputs]:
        """Yield the outputs of the float network, batch by batch."""
        file, count = self._answers, len(self._session.outputs)
        file.seek(0)
        for _ in range(0, self.images, BATCH):
            yield tuple(np.load(file) for _ in range(count))

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
        # The outputs come first: they are made, and pictures are kept, before the pictures are read again.
        for expected, batch in zip(self._expected(), self._read(), strict=True):
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


def _bytes_of(batch: Batch) -> int:
    """Return the bytes of a batch's pictures, and of masks as large as the pictures that they were made of."""
    return batch.images.nbytes + sum(height * width for height, width in (one.picture_size for one in batch.geometries))


def _run(session: Session, batch: Batch) -> Outputs:
    return session(batch.images.numpy())
