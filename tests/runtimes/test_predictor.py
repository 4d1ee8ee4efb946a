import numpy as np
import pytest
from PIL import Image

from bundles import LABELS, SIZE, expected_logits, write_tiny_bundle
from parckit.contract import InputError
from parckit.processing import probabilities
from parckit.runtimes import load


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(params=[1, 2])
def bundle(tmp_path, request):
    return write_tiny_bundle(tmp_path / "b", batch=request.param)


def test_files_images_and_arrays_get_the_same_answer(bundle, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    logits = expected_logits((pixels.transpose(2, 0, 1)[None] / 255).astype(np.float32))
    expected = dict(zip(LABELS, probabilities(logits)[0].tolist(), strict=True))
    predictor = load(bundle, top=4)
    for picture in (tmp_path / "a.png", Image.fromarray(pixels), pixels):
        # float32 in another order
        answers = {score.label: score.probability for score in predictor(picture).ranking}
        assert answers == pytest.approx(expected, rel=1e-5)


def test_many_pictures_are_answered_in_order(bundle, pixels):
    predictor = load(bundle)
    pictures = [np.roll(pixels, shift, axis=2) for shift in (0, 1, 2)]
    assert [str(answer) for answer in predictor.predict(pictures)] == [str(predictor(picture)) for picture in pictures]


def test_it_tells_what_it_is(bundle):
    text = repr(load(bundle))
    assert "onnx-fp32" in text
    assert "4 classes" in text


def test_only_the_decoders_values_can_be_set(bundle):
    with pytest.raises(InputError, match=r"iou=0\.5: this artefact lets callers set top, threshold"):
        load(bundle, iou=0.5)
