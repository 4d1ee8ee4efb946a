"""Evaluate a classifier and keep the pictures of its worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parckit.data import Batch
from parckit.measure.evaluation import Evaluation, EvaluationData, Track, evaluate_session
from parckit.processing import ClassPrediction, to_pixels
from parckit.runtimes import Session

MOST = 24
"""Most pictures on a page."""

_FEW = 8
"""If there are fewer mistakes than this, right answers with low confidence are added up to this number of pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A picture and the network's answer.

    Attributes:
        pixels: the picture at the network's input size, (H, W, 3) RGB, uint8.
        truth: the true class.
        prediction: the predicted class.
        confidence: probability that the network gives to its prediction, 0 to 1.
    """

    pixels: npt.NDArray[np.uint8]
    truth: str
    prediction: str
    confidence: float

    @property
    def is_right(self) -> bool:
        """Whether the prediction is the truth."""
        return self.prediction == self.truth


def evaluate_with_mistakes(
    session: Session, data: EvaluationData, *, track: Track[Batch] = iter
) -> tuple[Evaluation, tuple[Answer, ...]]:
    """Evaluate a session. Also return its worst mistakes: those with the highest confidence, the highest first.

    If there are few mistakes, the right answers with the lowest confidence follow.
    """
    watch = _Watch(session=data.limit(session))
    evaluation = evaluate_session(session, data, track=track, watch=watch.keep)
    doubtful = watch.doubtful[: max(0, _FEW - len(watch.mistakes))]
    return evaluation, tuple(watch.mistakes + doubtful)


@dataclass(kw_only=True, slots=True)
class _Watch:
    """Observes an evaluation: it sees the images, the answers and the true classes of every batch.

    Attributes:
        session: the classifier.
        mistakes: wrong answers, the highest confidence first.
        doubtful: right answers, the lowest confidence first.
    """

    session: Session
    mistakes: list[Answer] = field(default_factory=list[Answer])
    doubtful: list[Answer] = field(default_factory=list[Answer])

    def keep(self, batch: Batch, predictions: Sequence[ClassPrediction]) -> None:
        """Keep a batch's answers if they are among the worst so far."""
        truths = [self.session.spec.labels[index] for index in batch.targets.tolist()]
        order = sorted(range(len(truths)), key=lambda index: predictions[index].probability)
        wrong = [index for index in reversed(order) if predictions[index].label != truths[index]][:MOST]
        unsure = [index for index in order if predictions[index].label == truths[index]][:_FEW]
        images = batch.images.numpy()

        def answers(indices: Sequence[int]) -> list[Answer]:
            return [
                Answer(
                    pixels=to_pixels(images[index], self.session.spec.preprocessing, wanted=self.session.input),
                    truth=truths[index],
                    prediction=predictions[index].label,
                    confidence=predictions[index].probability,
                )
                for index in indices
            ]

        self.mistakes = sorted(self.mistakes + answers(wrong), key=lambda answer: -answer.confidence)[:MOST]
        self.doubtful = sorted(self.doubtful + answers(unsure), key=lambda answer: answer.confidence)[:_FEW]
