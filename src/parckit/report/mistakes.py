"""Evaluate a classifier and keep the pictures that it is most wrong about."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parckit.contract import Preprocessing
from parckit.data import Batch
from parckit.measure.evaluation import Evaluation, EvaluationData, Track, make_metric, score
from parckit.processing import probabilities
from parckit.runtimes import Images, Outputs, Session

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
    dataset = data.open(session.spec)
    watch = _Watch(session=session)
    result = score(watch.predict, watch.follow(track(data.batches(dataset))), make_metric(session.spec))
    evaluation = Evaluation(
        score=result,
        labels=session.spec.labels,
        engine=session.engine,
        artefact=session.artefact,
        data=data,
        served=dataset.served,
    )
    doubtful = watch.doubtful[: max(0, _FEW - len(watch.mistakes))]
    return evaluation, tuple(watch.mistakes + doubtful)


@dataclass(kw_only=True, slots=True)
class _Watch:
    """Looks at images, outputs and truths while they are evaluated.

    Attributes:
        session: the classifier.
        mistakes: the surest ones.
        doubtful: the least sure right answers.
        logits: of the batch that was run last.
    """

    session: Session
    mistakes: list[Answer] = field(default_factory=list[Answer])
    doubtful: list[Answer] = field(default_factory=list[Answer])
    logits: npt.NDArray[np.generic] = field(default_factory=lambda: np.empty((0, 0)))

    def predict(self, images: Images) -> Outputs:
        """Run the session, and remember its answer."""
        outputs = self.session(images)
        self.logits = outputs[0]
        return outputs

    def follow(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches through; after each of them, keep its worst answers."""
        for batch in batches:
            yield batch
            if len(batch.targets):
                self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        odds = probabilities(self.logits)
        best, confidence = odds.argmax(1), odds.max(1)
        right = best == batch.targets.numpy()
        order = confidence.argsort(kind="stable")
        wrong = [int(index) for index in order[::-1] if not right[index]][:MOST]
        unsure = [int(index) for index in order if right[index]][:_FEW]
        images, labels = batch.images.numpy(), self.session.spec.labels

        def answers(indices: Sequence[int]) -> list[Answer]:
            return [
                Answer(
                    pixels=to_pixels(images[index], self.session.spec.preprocessing),
                    truth=labels[int(batch.targets[index])],
                    prediction=labels[int(best[index])],
                    confidence=float(confidence[index]),
                )
                for index in indices
            ]

        self.mistakes = sorted(self.mistakes + answers(wrong), key=lambda answer: -answer.confidence)[:MOST]
        self.doubtful = sorted(self.doubtful + answers(unsure), key=lambda answer: answer.confidence)[:_FEW]


def to_pixels(image: npt.NDArray[np.generic], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Turn a network's input back into a picture.

    Shape:
        (3, H, W) -> (H, W, 3)
    """
    pixels = 255 * (image.transpose(1, 2, 0) * preprocessing.std + preprocessing.mean)
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return pixels.round().clip(0, 255).astype(np.uint8)
