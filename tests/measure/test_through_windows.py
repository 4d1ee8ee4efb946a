"""Evaluation of networks that segment through windows, as published evaluations do it."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from parckit.contract import InputError
from parckit.data import PixelClasses
from parckit.measure.evaluation import EvaluationData, evaluate_session
from parckit.measure.segmentation import SegmentationMetric
from parckit.processing import CLASSIFY, MaskPrediction, TileSettings, WindowSettings
from parckit.report.mistakes import evaluate_with_answers
from parckit.report.recorded import accuracy_of
from parckit.runtimes import WindowSession
from pixel_network import LABELS, PixelSession

SIZE = (32, 48)
SIZES = {"a": (70, 90), "b": (40, 130), "c": (20, 30)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with pictures of several sizes and random masks."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("\n".join(LABELS))
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / "images" / f"{name}.png")
        mask = Image.fromarray(rng.integers(0, len(LABELS), (4, 5), dtype=np.uint8))
        mask.resize(size[::-1], Image.Resampling.NEAREST).save(folder / "masks" / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"tiles": "input"}, {"tiles": TileSettings()}),
        (
            {"tiles": "24x40", "tile_overlap": 0.5, "shorter_side": 50, "scales": (0.5, 1.5), "flip": True},
            {"tiles": TileSettings(size=(24, 40), overlap=0.5), "shorter_side": 50, "scales": (0.5, 1.5), "flip": True},
        ),
    ],
)
def test_every_pixel_of_every_picture_is_compared(folder, options, settings):
    data = EvaluationData(source=str(folder), split="all", **options)
    evaluation = evaluate_session(PixelSession(SIZE), data)
    assert evaluation.sha256 is None  # a session is no file
    metric = SegmentationMetric(len(LABELS))
    through = WindowSession(PixelSession(SIZE), WindowSettings(**settings))
    for name in SIZES:
        pixels = np.asarray(Image.open(folder / "images" / f"{name}.png"))
        (classes,) = through(pixels.transpose(2, 0, 1)[None])
        truth = torch.from_numpy(np.array(Image.open(folder / "masks" / f"{name}.png")))
        metric.update([MaskPrediction(mask=classes[0], names=LABELS)], [PixelClasses(truth, truth)])
    assert evaluation.score.scalars == metric.compute()
    assert evaluation.score.images == 3
    assert evaluation.score.tables["class_pixels"].sum() == sum(height * width for height, width in SIZES.values())


def test_a_picture_that_would_become_too_large_is_named(folder, monkeypatch):
    monkeypatch.setattr(import_module("parckit.processing.windows"), "_MOST_PIXELS", 20_000)
    data = EvaluationData(source=str(folder), split="all", tiles="input", scales=(2.0,))
    with pytest.raises(InputError, match=r"a\.png: cannot be prepared .*picture of 70x90 pixels, enlarged to 140x180"):
        evaluate_session(PixelSession(SIZE), data)
    skipping = replace(data, on_error="skip", max_broken=0.9)
    assert evaluate_session(PixelSession(SIZE), skipping).score.skipped == 2


def test_options_are_part_of_the_command_that_measures_again(folder):
    data = EvaluationData(source=str(folder), split="all", tiles="32x48", scales=(0.5, 1.0), flip=True)
    judged = evaluate_with_answers(PixelSession(SIZE), data)
    accuracy = accuracy_of(judged.evaluation, model="m", machine="", date="")
    assert accuracy.options == (
        *("--data.split", "all", "--data.tiles", "32x48", "--data.scales", "[0.5, 1.0]", "--data.flip", "true"),
    )
    # The worst pictures are shown at their own size, twice.
    assert [answer.pixels.shape for answer in judged.worst if answer.pixels.shape[1] == 90] == [(144, 90, 3)]
    shares = [answer.rank_value for answer in judged.worst]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": True}, "--data.flip True: needs --data.tiles"),
        ({"scales": (0.5,)}, "needs --data.tiles"),
        ({"tile_overlap": 0.5}, r"--data.tile_overlap 0\.5: needs"),
        ({"shorter_side": 5}, "needs --data.tiles"),
        ({"tiles": "large"}, "--data.tiles large: must be HEIGHTxWIDTH"),
        ({"tiles": "8", "tile_overlap": 2.0}, r"tile overlap 2\.0"),
        ({"tiles": "8", "scales": ()}, "scales"),
        ({"tiles": "8", "shorter_side": 0}, "shorter_side=0"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EvaluationData(source="x", **options)


def test_other_tasks_have_no_windows():
    session = PixelSession(SIZE)
    session.spec, session.decoder = replace(session.spec, task="classify"), CLASSIFY
    with pytest.raises(InputError, match="tiles: this network's task is 'classify'; only segmentation averages"):
        evaluate_session(session, EvaluationData(source="digits", tiles="input"))
    with pytest.raises(InputError, match="on_mask_fault=raise: is for the task segment, not classify"):
        evaluate_session(session, EvaluationData(source="digits", on_mask_fault="raise"))
