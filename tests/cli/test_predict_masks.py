"""`parckit predict` of a network that segments: areas, overlays, and masks that can be used as data."""

import csv
import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from parckit.data import open_mask_table
from parckit.processing import CLASSIFY, TileSettings, list_images, open_picture, read_video
from parckit.runtimes import Predictor
from pixel_network import LABELS, PixelSession
from videos import write_video

SIZE = (32, 48)


def smooth(size: tuple[int, int], *, seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def session(monkeypatch) -> PixelSession:
    session = PixelSession(SIZE)
    monkeypatch.setattr("parckit.cli.predict.open_session", lambda *args, **kwargs: session)
    return session


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "data" / "images"
    (folder / "more").mkdir(parents=True)
    smooth((70, 90), seed=0).save(folder / "a.png")
    smooth((40, 130), seed=1).save(folder / "b.png")
    return folder


def masks_of(session, folder, **settings) -> dict[str, np.ndarray]:
    predictor = Predictor(session, **settings)
    return {path.stem: predictor(path).mask for path in sorted(folder.glob("*.png"))}


def test_areas_are_told_in_every_form(photos, session, parckit):
    expected = masks_of(session, photos)
    areas = json.loads(parckit("predict", "model", photos, "--json"))
    lines = [json.loads(line) for line in parckit("predict", "model", photos, "--format=jsonl").splitlines()]
    rows = list(csv.DictReader(StringIO(parckit("predict", "model", photos, "--format=csv"))))
    table = parckit("predict", "model", photos)
    for name, mask in expected.items():
        path = str(photos / f"{name}.png")
        counts = dict(zip(LABELS, np.bincount(mask.ravel(), minlength=len(LABELS)).tolist(), strict=True))
        occurring = {label: count for label, count in counts.items() if count}
        assert {entry["class"]: entry["pixels"] for entry in areas[path]} == occurring
        assert areas[path] == sorted(areas[path], key=lambda entry: -entry["pixels"])
        assert {"picture": path, "answer": areas[path]} in lines
        assert {row["class"]: int(row["pixels"]) for row in rows if row["picture"] == path} == occurring
    assert all(label in table for label in occurring)


def test_masks_are_data_for_training(photos, session, parckit, tmp_path):
    masks = tmp_path / "data" / "masks"
    parckit("predict", "model", photos, "--masks", masks, "--json")
    expected = masks_of(session, photos)
    assert sorted(path.name for path in masks.iterdir()) == ["a_mask.png", "b_mask.png", "classes.txt"]
    table = open_mask_table(str(tmp_path / "data"), split="all")
    assert table.labels == LABELS
    for index in range(2):
        np.testing.assert_array_equal(table.targets[index], list(expected.values())[index])


def test_unseen_pixels_are_255(photos, session, parckit, tmp_path):
    session.spec = replace(session.spec, preprocessing=replace(session.spec.preprocessing, fit="cover"))
    parckit("predict", "model", photos / "b.png", "--masks", tmp_path / "masks")
    with Image.open(tmp_path / "masks" / "b_mask.png") as image:
        assert (image.mode, image.size) == ("P", (130, 40))
        columns = (np.asarray(image) == 255).all(axis=0)
    # The network saw the middle: as high as the picture, and 60 pixels wide.
    assert columns.sum() == 70
    assert not columns[35:95].any()


def test_pictures_of_the_same_name_keep_their_masks(photos, parckit, tmp_path):
    smooth((30, 30), seed=2).save(photos / "more" / "a.png")
    parckit("predict", "model", photos / "a.png", photos / "more" / "a.png", "--masks", tmp_path, "--draw", tmp_path)
    for name, size in (("a_mask.png", (90, 70)), ("a.2_mask.png", (30, 30)), ("a.png.2.answer.png", (30, 30))):
        with Image.open(tmp_path / name) as image:
            assert image.size == size


def test_pictures_that_some_systems_take_for_the_same_keep_their_masks(photos, parckit, tmp_path):
    folder = tmp_path / "data" / "more"
    folder.mkdir()
    # The stem `a` comes in two types, `A` is the same on Windows, and `a.2` looks like the name of the second `a`.
    for side, name in enumerate(("A.png", "a.bmp", "a.2.png", "b_mask.png", "B.png"), start=30):
        smooth((side, side), seed=side).save(folder / name)
    parckit("predict", "model", photos / "a.png", *list_images(folder), "--masks", folder)
    written = {path.name: open_picture(path).size for path in folder.glob("*_mask.png")}
    assert written == {
        "a_mask.png": (90, 70),
        "A.2_mask.png": (30, 30),
        # The name `B_mask.png` belongs to a picture.
        "B.2_mask.png": (34, 34),
        "a.2.2_mask.png": (32, 32),
        "a.3_mask.png": (31, 31),
        "b_mask.png": (33, 33),
        "b_mask_mask.png": (33, 33),
    }


def test_a_table_of_other_classes_is_not_overwritten(photos, parckit, mistake, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "classes.txt").write_text("road\ncar\n")
    assert "classes.txt there has other classes than the network" in mistake(
        "predict", "model", photos, "--masks", folder
    )
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("classes.txt", "road\ncar\n")]
    (folder / "classes.txt").write_text("\n".join(LABELS) + "\r\n")
    for _ in range(2):
        parckit("predict", "model", photos, "--masks", folder)
        assert sorted(path.name for path in folder.iterdir()) == ["a_mask.png", "b_mask.png", "classes.txt"]


def test_videos_have_a_mask_for_every_frame(parckit, session, tmp_path):
    frames = [np.asarray(smooth((48, 64), seed=number)) for number in range(3)]
    clip = write_video(tmp_path / "clip.mp4", frames)
    printed = json.loads(
        parckit("predict", "model", clip, "--masks", tmp_path, "--draw", tmp_path, "--every=2", "--json")
    )
    assert [entry["frame"] for entry in printed[str(clip)]] == [0, 2]
    folder = tmp_path / "clip_masks"
    assert sorted(path.name for path in folder.iterdir()) == ["000000_mask.png", "000002_mask.png"]
    seen = list(read_video(clip))
    with Image.open(folder / "000002_mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image), Predictor(session)(seen[2].picture).mask)
    assert len(list(read_video(tmp_path / "clip.mp4.answer.mp4"))) == 2
    # A second run leaves no frame of the first one.
    parckit("predict", "model", clip, "--masks", tmp_path, "--every=3")
    assert [path.name for path in folder.iterdir()] == ["000000_mask.png"]


def test_large_pictures_are_seen_through_tiles(photos, session, parckit, tmp_path):
    parckit("predict", "model", photos, "--masks", tmp_path / "m", "--tile_overlap=0.5", "--tiles")
    for name, mask in masks_of(session, photos, tiles=TileSettings(overlap=0.5)).items():
        with Image.open(tmp_path / "m" / f"{name}_mask.png") as image:
            np.testing.assert_array_equal(np.asarray(image), mask)


def test_wrong_lines_end_in_a_line(photos, session, mistake, tmp_path):
    assert "--format coco: is for boxes; this network's task is 'segment'" in mistake(
        "predict", "model", photos, "--format=coco", "--annotations", tmp_path / "n.json"
    )
    assert "threshold=0.5: this artefact lets callers set nothing" in mistake(
        "predict", "model", photos, "--threshold=0.5"
    )
    session.spec, session.decoder = replace(session.spec, task="classify"), CLASSIFY
    assert "is for networks that segment; this network's task is 'classify'" in mistake(
        "predict", "model", photos, "--masks", tmp_path / "masks"
    )
    assert not (tmp_path / "masks").exists()
