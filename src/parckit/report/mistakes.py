"""Evaluate a network and keep the pictures of its worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from parckit.data import Batch
from parckit.measure.evaluation import Evaluation, EvaluationData, Track, evaluate_session
from parckit.processing import to_pixels
from parckit.report.results import result_view
from parckit.runtimes import Session

MOST = 24
"""Most pictures on a page."""

_TYPICAL = 8
"""Pictures that are drawn at random, for tasks whose answers are drawn on the picture."""

_FEW = 8
"""If there are fewer mistakes than this, the least sure right answers are added up to this number of pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A picture and the network's answer.

    Attributes:
        pixels: the picture at the network's input size, (H, W, 3) RGB, uint8. With boxes it may be larger.
        truth: the truth in words.
        prediction: the answer in words.
        rank_value: a number from 0 to 1, by which answers are ranked; see `Judgement`.
        is_right: whether the prediction is the truth.
    """

    pixels: npt.NDArray[np.uint8]
    truth: str
    prediction: str
    rank_value: float
    is_right: bool


class Judged(NamedTuple):
    """An evaluation, and answers of it to look at.

    Attributes:
        evaluation: the results.
        worst: the mistakes with the highest `rank_value`, the highest first. If there are few mistakes, the right
            answers with the lowest `rank_value` follow.
        typical: answers for pictures that were drawn at random, for tasks whose answers are drawn on the picture.
    """

    evaluation: Evaluation
    worst: tuple[Answer, ...]
    typical: tuple[Answer, ...]


def evaluate_with_answers(session: Session, data: EvaluationData, *, track: Track[Batch] = iter) -> Judged:
    """Evaluate a session, and keep its worst mistakes and some answers at random."""
    watch = _Watch(session=data.limit(session))
    evaluation = evaluate_session(session, data, track=track, watch=watch.keep)
    doubtful = watch.doubtful[: max(0, _FEW - len(watch.mistakes))]
    worst = tuple(watch.mistakes + doubtful)
    # If the worst answers are all answers, there is nothing else to draw from.
    typical = tuple(watch.typical) if evaluation.score.images > len(worst) else ()
    return Judged(evaluation, worst=worst, typical=typical)


@dataclass(kw_only=True, slots=True)
class _Watch:
    """Observes an evaluation: it sees the images, the answers and the true answers of every batch.

    Attributes:
        session: the network.
        mistakes: wrong answers, the highest `rank_value` first.
        doubtful: right answers, the lowest `rank_value` first.
        typical: answers for pictures that were drawn at random.
    """

    session: Session
    mistakes: list[Answer] = field(default_factory=list[Answer])
    doubtful: list[Answer] = field(default_factory=list[Answer])
    typical: list[Answer] = field(default_factory=list[Answer])
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _seen: int = 0

    def keep(self, batch: Batch, predictions: Sequence[Any]) -> None:
        """Keep a batch's answers if they are among the worst so far, or drawn."""
        spec = self.session.spec
        view = result_view(spec.task)
        judge, mark = view.judge, view.mark
        pairs = zip(predictions, batch.targets, strict=True)
        judged = [judge(answer, target, spec.labels) for answer, target in pairs]
        order = sorted(range(len(judged)), key=lambda index: judged[index].rank_value)
        wrong = [index for index in reversed(order) if not judged[index].is_right][:MOST]
        unsure = [index for index in order if judged[index].is_right][:_FEW]
        images = batch.images.numpy()

        def show(index: int) -> npt.NDArray[np.uint8]:
            pixels = to_pixels(images[index], spec.preprocessing, wanted=self.session.input)
            if mark is None:
                return pixels
            return mark(pixels, predictions[index], batch.targets[index], batch.geometries[index])

        def answers(indices: Sequence[int]) -> list[Answer]:
            return [
                Answer(
                    pixels=show(index),
                    truth=judged[index].truth,
                    prediction=judged[index].answer,
                    rank_value=judged[index].rank_value,
                    is_right=judged[index].is_right,
                )
                for index in indices
            ]

        if mark is not None:
            for place, index in self._draw(len(judged)).items():
                self.typical[place : place + 1] = answers([index])
        self.mistakes = sorted(self.mistakes + answers(wrong), key=lambda answer: -answer.rank_value)[:MOST]
        self.doubtful = sorted(self.doubtful + answers(unsure), key=lambda answer: answer.rank_value)[:_FEW]

    def _draw(self, count: int) -> dict[int, int]:
        """Draw pictures of a batch, so that in the end every picture has had the same chance.

        Args:
            count: number of pictures in the batch.

        Returns:
            Place in `typical` -> index in the batch. The first pictures fill the places; later ones replace others.
        """
        drawn: dict[int, int] = {}
        for index in range(count):
            place = self._seen if self._seen < _TYPICAL else int(self._random.integers(self._seen + 1))
            self._seen += 1
            if place < _TYPICAL:
                drawn[place] = index
        return drawn
