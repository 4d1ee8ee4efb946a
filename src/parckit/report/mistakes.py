"""Evaluate a classifier and keep the pictures that it is most wrong about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parckit.contract import Preprocessing
from parckit.data import Batch
from parckit.measure.evaluation import Evaluation, EvaluationData, Track, evaluate_session
from parckit.processing import ClassPrediction
from parckit.runtimes import Session

MOST = 24
"""Pictures that a page has room for."""

_FEW = 8
"""Below so many mistakes, doubtful right answers are shown too, up to this number of pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A picture as the network sees it, and what the network says of it.

    Attributes:
        pixels: (H, W, 3) RGB, uint8.
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
    """Evaluate a session, and return also its worst mistakes, the surest first.

    If there are few, the least sure right answers follow.
    """
    watch = _Watch(preprocessing=session.spec.preprocessing, labels=session.spec.labels)
    evaluation = evaluate_session(session, data, track=track, watch=watch.keep)
    doubtful = watch.doubtful[: max(0, _FEW - len(watch.mistakes))]
    return evaluation, tuple(watch.mistakes + doubtful)


@dataclass(kw_only=True, slots=True)
class _Watch:
    """Looks at images and answers while they are evaluated.

    Attributes:
        preprocessing: of the images.
        labels: class names by index.
        mistakes: the surest ones.
        doubtful: the least sure right answers.
    """

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    mistakes: list[Answer] = field(default_factory=list[Answer])
    doubtful: list[Answer] = field(default_factory=list[Answer])

    def keep(self, batch: Batch, predictions: Sequence[ClassPrediction]) -> None:
        """Keep a batch's answers if they are among the worst so far."""
        truths = [self.labels[index] for index in batch.targets.tolist()]
        order = sorted(range(len(truths)), key=lambda index: predictions[index].probability)
        wrong = [index for index in reversed(order) if predictions[index].label != truths[index]][:MOST]
        unsure = [index for index in order if predictions[index].label == truths[index]][:_FEW]
        images = batch.images.numpy()

        def answers(indices: Sequence[int]) -> list[Answer]:
            return [
                Answer(
                    pixels=to_pixels(images[index], self.preprocessing),
                    truth=truths[index],
                    prediction=predictions[index].label,
                    confidence=predictions[index].probability,
                )
                for index in indices
            ]

        self.mistakes = sorted(self.mistakes + answers(wrong), key=lambda answer: -answer.confidence)[:MOST]
        self.doubtful = sorted(self.doubtful + answers(unsure), key=lambda answer: answer.confidence)[:_FEW]


def to_pixels(image: npt.NDArray[np.generic], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Turn a network's input back into a picture.

    Shape:
        (C, H, W) -> (H, W, 3)
    """
    pixels = 255 * (image.transpose(1, 2, 0) * preprocessing.std + preprocessing.mean)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return pixels.round().clip(0, 255).astype(np.uint8)
