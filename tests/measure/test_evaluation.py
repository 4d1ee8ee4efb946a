"""Evaluation of anything that takes images, and of checkpoints and bundles on a source of data."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from bundles import LABELS, expected_logits, tiny_spec, write_tiny_bundle
from parckit.contract import InputError
from parckit.data import Batch
from parckit.measure.classification import ClassificationMetric
from parckit.measure.evaluation import EvaluationData, Score, evaluate, score
from parckit.processing import CLASSIFY, ClassPrediction, list_images, load_image, make_decoder, preprocess
from pictures import write_noise


def batch(logits: list[list[float]], targets: list[int], *, skipped: int = 0) -> Batch:
    """Images that carry their own logits: as channels of a 1 x 1 map."""
    images = torch.tensor(logits, dtype=torch.float32).reshape(len(targets), -1, 1, 1)
    return Batch(images=images, targets=torch.tensor(targets, dtype=torch.int64), skipped=skipped)


def read_out(batch: Batch) -> list[ClassPrediction]:
    network = replace(tiny_spec(), labels=("ant", "bee"))
    return make_decoder(CLASSIFY, network)([batch.images.numpy()[:, :, 0, 0]], batch.geometries)


def scored(*batches: Batch) -> Score:
    return score(read_out, batches, ClassificationMetric(2))


RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]  # for class 0


def test_batches_may_differ_in_size_without_bias():
    result = scored(batch([RIGHT] * 3, [0] * 3), batch([WRONG], [0], skipped=3))
    assert (result.scalars["top1"], result.images, result.skipped) == (75, 4, 3)
    np.testing.assert_array_equal(result.tables["confusion"], [[3, 1], [0, 0]])


def test_batches_of_broken_images_alone_are_counted():
    empty = Batch(images=torch.empty(0, 3, 0, 0), targets=torch.empty(0, dtype=torch.int64), skipped=2)
    result = scored(empty, batch([RIGHT], [0]))
    assert (result.images, result.skipped, result.scalars["top1"]) == (1, 2, 100)
    with pytest.raises(InputError, match=r"no images to evaluate \(2 broken ones were skipped\)"):
        scored(empty)


@pytest.mark.parametrize(("max_broken", "is_refused"), [(0.1, True), (0.25, False), (1.0, False)])
def test_many_broken_images_end_an_evaluation(max_broken, is_refused):
    data = EvaluationData(source="photos", max_broken=max_broken)
    batches = [batch([RIGHT] * 2, [0, 0], skipped=1), batch([RIGHT], [0])]
    if is_refused:
        with pytest.raises(InputError, match=r"^--data photos: 1 of 4 images are broken; at most 10 % may be broken"):
            scored(*data.check(batches, images=4))
    else:
        assert scored(*data.check(batches, images=4)).skipped == 1


@pytest.mark.parametrize("max_broken", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(max_broken):
    with pytest.raises(InputError, match=f"max_broken={max_broken}"):
        EvaluationData(source="photos", max_broken=max_broken)


@pytest.fixture
def animals(tmp_path):
    """Return a folder with three pictures for each class of the tiny bundle."""
    return write_noise(tmp_path / "animals" / "test", labels=LABELS, count=3).parent


def test_a_bundle_is_evaluated_on_a_source(animals, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    data = EvaluationData(source=str(animals), split="all", batch_size=5)
    evaluation = evaluate(bundle, data, artefact="onnx-fp32", threads=1)
    assert (evaluation.artefact, evaluation.data, evaluation.labels) == ("onnx-fp32", data, LABELS)
    assert evaluation.engine.startswith("onnxruntime ")
    paths = list_images(animals)
    pixels = np.stack([preprocess(load_image(path), tiny_spec().preprocessing)[0] for path in paths])
    right = [
        LABELS[best] == path.parent.name for best, path in zip(expected_logits(pixels).argmax(1), paths, strict=True)
    ]
    assert evaluation.score.scalars["top1"] == 100 * sum(right) / 12
    assert evaluation.score.images == 12


def test_a_source_alone_is_enough_and_batches_can_be_watched(animals, tmp_path):
    sizes: list[int] = []

    def watch(batches: Iterable[Batch]) -> Iterator[Batch]:
        for one in batches:
            sizes.append(len(one.targets))
            yield one

    evaluation = evaluate(write_tiny_bundle(tmp_path / "bundle"), animals, track=watch)
    assert (evaluation.data.split, evaluation.served, sizes) == ("test", "test", [12])


def test_data_without_a_class_of_the_network_are_refused(animals, tmp_path):
    for label in LABELS:
        (animals / "test" / label).rename(animals / "test" / f"no {label}")
    with pytest.raises(InputError, match=r"its classes are not the model's: 4 in the data \(no .*, 4 in the model"):
        evaluate(write_tiny_bundle(tmp_path / "bundle"), str(animals))
