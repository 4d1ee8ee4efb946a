import time

import numpy as np
import pytest

from bundles import LABELS, expected_logits, tiny_spec, write_tiny_bundle
from parckit.data import IndexedImages
from parckit.measure import doubts
from parckit.measure.doubts import find_doubts
from parckit.processing import list_images, load_image, preprocess
from pictures import write_noise


@pytest.fixture
def animals(tmp_path):
    """Return a folder of noise for each class of the tiny bundle, with a broken picture."""
    folder = write_noise(tmp_path / "animals", labels=LABELS, count=20)
    (folder / LABELS[0] / "00.png").write_bytes(b"broken")
    return folder


def test_the_classes_that_a_network_doubts_most_come_first(animals, tmp_path):
    paths = [path for path in list_images(animals) if path.read_bytes() != b"broken"]
    pixels = np.stack([preprocess(load_image(path), tiny_spec().preprocessing)[0] for path in paths])
    logits = expected_logits(pixels).astype(np.float64)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truths = np.array([LABELS.index(path.parent.name) for path in paths])
    doubt = odds.max(axis=1) - odds[np.arange(len(paths)), truths]
    most = [index for index in np.argsort(-doubt, kind="stable") if doubt[index] > 0]
    bundle = write_tiny_bundle(tmp_path / "bundle")
    result = find_doubts(bundle, str(animals), most=1000, threads=2)
    assert {entry.name for entry in result} == {str(paths[index]) for index in most}
    gaps = [entry.confidence - entry.probability for entry in result]
    # float32 in the engine, float64 here
    np.testing.assert_allclose(gaps, doubt[most], atol=1e-5)
    first = most[0]
    assert (result[0].label, result[0].answer) == (LABELS[truths[first]], LABELS[odds[first].argmax()])
    assert find_doubts(bundle, [str(animals)], most=3) == result[:3]


def test_at_most_two_batches_of_pictures_are_in_memory(animals, tmp_path, monkeypatch):
    """A network may be slower than the pictures are decoded."""
    decoded, ahead = [], []
    load = IndexedImages.__getitem__
    monkeypatch.setattr(
        IndexedImages, "__getitem__", lambda images, index: (decoded.append(index), load(images, index))[1]
    )
    monkeypatch.setattr(doubts, "_BATCH", 8)

    def follow(samples):
        for number, sample in enumerate(samples):
            time.sleep(0.001)
            ahead.append(len(decoded) - number)
            yield sample

    doubts.find_doubts(write_tiny_bundle(tmp_path / "bundle"), str(animals), most=1, threads=2, track=follow)
    assert len(decoded) == 80
    assert max(ahead) <= 2 * 8
