"""Evaluate a classifier and keep the pictures of its worst mistakes."""

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
    """Observes an evaluation: it sees the images, the outputs and the true classes of every batch.

    Attributes:
        session: the classifier.
        mistakes: wrong answers, the highest confidence first.
        doubtful: right answers, the lowest confidence first.
        logits: outputs of the last batch.
    """

    session: Session
    mistakes: list[Answer] = field(default_factory=list[Answer])
    doubtful: list[Answer] = field(default_factory=list[Answer])
    logits: npt.NDArray[np.generic] = field(default_factory=lambda: np.empty((0, 0)))

    def predict(self, images: Images) -> Outputs:
        """Run the session and remember its outputs."""
        outputs = self.session(images)
        self.logits = outputs[0]
        return outputs

    def follow(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches. When the evaluation asks for the next batch, keep the worst answers of the last one."""
        for batch in batches:
            yield batch
            # Now the evaluation has called `predict` with this batch.
            if len(batch.targets):
                self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        # Sort the answers of this batch by confidence.
        predicted = probabilities(self.logits)
        best, confidence = predicted.argmax(1), predicted.max(1)
        right = best == batch.targets.numpy()
        order = confidence.argsort(kind="stable")
        wrong = [int(index) for index in order[::-1] if not right[index]][:MOST]
        unsure = [int(index) for index in order if right[index]][:_FEW]
        # Make pictures only of answers that may be kept, and merge them with the answers of earlier batches.
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
    """Turn a network's input back into a picture: undo the normalisation and the order of the channels.

    Shape:
        (3, H, W) -> (H, W, 3)
    """
    pixels = 255 * (image.transpose(1, 2, 0) * preprocessing.std + preprocessing.mean)
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return pixels.round().clip(0, 255).astype(np.uint8)
