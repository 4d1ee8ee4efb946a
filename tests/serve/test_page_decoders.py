"""The page's decoders give the answers of `parckit.processing`, on outputs of random networks."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from javascript import call, geometry_of, needs_node
from parckit.contract import DecoderSpec, NetworkSpec, Preprocessing
from parckit.processing import DECODERS, BoxPrediction, Geometry, MaskPrediction, PriorSettings, make_decoder

pytestmark = needs_node

LABELS = ("ant", "bee", "cat", "dog", "eel")
GEOMETRY = Geometry(picture_size=(150, 230), input_size=(96, 128), scale=(0.55, 0.55), offset=(-6.0, -0.5))
PRIORS: dict[str, Any] = {"strides": [16, 32, 0], "scales": [0.2, 0.4, 0.7, 0.9], "ratios": [[2], [2, 3], [2]]}
BOXES = {"threshold": 0.3, "overlap": 0.5, "per_class": 20, "most": 30}


def random(*shape: int, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(np.float32)


def decode(decoder: DecoderSpec, *outputs: np.ndarray, geometry: Geometry = GEOMETRY) -> dict[str, Any]:
    """Return the page's answer, or its error."""
    tensors = [{"dims": list(output.shape), "data": output} for output in outputs]
    settings = {"decoder": asdict(decoder), "labels": LABELS, "geometry": geometry_of(geometry)}
    (answer,) = call([("decoders", "decode", [tensors, settings])])
    return answer


def reference(decoder: DecoderSpec, *outputs: np.ndarray, geometry: Geometry = GEOMETRY) -> Any:
    task = DECODERS[decoder.name].task
    network = NetworkSpec(task=task, backbone="x", head="x", labels=LABELS, preprocessing=Preprocessing(size=(96, 128)))
    (answer,) = make_decoder(decoder, network)(outputs, [geometry])
    return answer


def test_the_page_has_every_decoder():
    (names,) = call([("decoders", "DECODERS", [])])
    assert names == list(DECODERS)


def test_classes():
    decoder = DecoderSpec(name="classify", defaults={"top": 4, "threshold": 0.9})
    logits = random(1, 5)
    answer, expected = decode(decoder, logits), reference(decoder, logits)
    assert [score["label"] for score in answer["ranking"]] == [score.label for score in expected.ranking]
    # Both compute in float64; exp of two libraries may differ in the last bits.
    shares = [score["probability"] for score in answer["ranking"]]
    assert shares == pytest.approx([score.probability for score in expected.ranking], rel=1e-12)
    assert answer["isKnown"] == expected.is_known


@pytest.mark.parametrize("threshold", [0.6, (0.1, 0.9, 0.5, 0.5, 0.2)])
def test_labels(threshold):
    decoder = DecoderSpec(name="multilabel", defaults={"top": 2, "threshold": threshold})
    logits = random(1, 5)
    answer, expected = decode(decoder, logits)["ranking"], reference(decoder, logits).to_plain()
    assert [(one["label"], one["isPresent"]) for one in answer] == [(one["class"], one["present"]) for one in expected]
    assert [one["probability"] for one in answer] == pytest.approx([one["probability"] for one in expected], rel=1e-12)


def assert_same_boxes(answer: dict[str, Any], expected: BoxPrediction) -> None:
    """Python decodes in float32: boxes of some hundred pixels differ by some millionths of them, scores by 1e-6."""
    assert len(expected) > 5
    objects = answer["objects"]
    assert [one["label"] for one in objects] == expected.labels.tolist()
    np.testing.assert_allclose([one["score"] for one in objects], expected.scores, atol=1e-6)
    np.testing.assert_allclose([one["box"] for one in objects], expected.boxes, atol=1e-3)


@pytest.mark.parametrize("threshold", [0.0, 0.45])
def test_boxes_of_ssd(threshold):
    decoder = DecoderSpec(name="ssd", parameters=PRIORS, defaults={**BOXES, "threshold": threshold})
    priors = len(PriorSettings(**PRIORS).priors(GEOMETRY.input_size))
    outputs = random(1, priors, 6), random(1, priors, 4, seed=1, spread=1.0)
    assert_same_boxes(decode(decoder, *outputs), reference(decoder, *outputs))


def test_boxes_of_the_small_detector():
    decoder = DecoderSpec(name="tinydet", parameters={"strides": [16, 32]}, defaults={**BOXES, "threshold": 0.8})
    sizes = ((6, 8), (3, 4))
    outputs = [random(1, channels, *size, seed=channels) for channels in (5, 4) for size in sizes]
    assert_same_boxes(decode(decoder, *outputs), reference(decoder, *outputs))


def detections(count: int, *, side: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    corners = generator.uniform(-20, 120, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(2, 60, (count, 2))], axis=1).astype(np.float32)
    scores, labels = generator.random(count, np.float32), generator.integers(0, 5, count)
    # Masks vary slowly, so that few pixels lie at the border between inside and outside.
    masks = np.kron(generator.random((count, 2, 2), np.float32), np.ones((side // 2, side // 2), np.float32))
    return [boxes, scores, labels, masks]


def test_detections_with_masks():
    decoder = DecoderSpec(name="detections", defaults={"threshold": 0.2, "most": 12})
    outputs = detections(16, side=14)
    answer, expected = decode(decoder, *outputs), reference(decoder, *outputs)
    assert_same_boxes(answer, expected)
    height, width = GEOMETRY.picture_size
    for index, one in enumerate(answer["objects"]):
        part, whole = one["mask"], np.zeros((height, width), np.bool_)
        rows, columns = (
            slice(part["top"], part["top"] + part["height"]),
            slice(part["left"], part["left"] + part["width"]),
        )
        whole[rows, columns] = part["data"].reshape(part["height"], part["width"])
        # Rounding decides only where a probability is 0.5 in all but the last bits.
        assert (whole != expected.masks.mask(index)).mean() <= 1e-4


def test_detections_without_masks_and_none_at_all():
    decoder = DecoderSpec(name="detections", defaults={"threshold": 0.2, "most": 12})
    outputs = detections(16, side=14)[:3]
    assert_same_boxes(decode(decoder, *outputs), reference(decoder, *outputs))
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert decode(decoder, *nothing)["objects"] == []


@pytest.mark.parametrize(
    "geometry", [GEOMETRY, Geometry((40, 300), (96, 128), (2.4, 2.4), (0.0, 296.0))], ids=["contain", "cover"]
)
def test_classes_of_pixels(geometry):
    decoder = DecoderSpec(name="segment")
    logits = random(1, 5, 12, 16)
    assert_same_mask(decode(decoder, logits, geometry=geometry), reference(decoder, logits, geometry=geometry))


def test_class_numbers_of_pixels():
    decoder = DecoderSpec(name="class_map")
    classes = np.random.default_rng(0).integers(0, 5, (1, 96, 128), dtype=np.uint8)
    assert_same_mask(decode(decoder, classes), reference(decoder, classes))


def assert_same_mask(answer: dict[str, Any], expected: MaskPrediction) -> None:
    """Rounding decides only where two logits are equal in all but the last bits of float32."""
    mask = answer["mask"].reshape(answer["height"], answer["width"])
    assert mask.shape == expected.mask.shape
    assert len(np.unique(expected.mask)) > 4
    assert (mask != expected.mask).mean() <= 1e-3
    areas = {one["name"]: one["share"] for one in answer["areas"]}
    plain = {str(one["class"]): one["share"] for one in expected.to_plain()}
    assert areas == pytest.approx(plain, abs=1e-3)


def test_outputs_of_another_shape_or_without_numbers_are_refused():
    decoder = DecoderSpec(name="classify", defaults={"top": 3, "threshold": 0.0})
    assert decode(decoder, random(1, 4)).endswith("have the shapes [[1,4]]; the contract says [[1,5]]")
    logits = random(1, 5)
    logits[0, 2] = np.nan
    assert "not finite" in decode(decoder, logits)
