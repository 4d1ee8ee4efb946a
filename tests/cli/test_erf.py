import json

import pytest
from PIL import Image

from pictures import break_picture, write_pictures

QUICK = ("--size=64", "--count=2")


def models(record) -> dict[str, list[dict[str, float]]]:
    return {entry["model"]: entry["windows"] for entry in json.loads(record.read_text())["values"]["models"]}


def test_models_stand_side_by_side_in_table_picture_and_record(parckit, tmp_path):
    out, record = tmp_path / "new" / "erf.png", tmp_path / "erf.json"
    printed = parckit("erf", "test_parcnet", "test_convnext", *QUICK, "--out", out, "--record", record)
    content = json.loads(record.read_text())
    assert content["seed"] == 0
    assert content["values"] | {"models": None} == {
        "source": "noise",
        "images": 2,
        "size": [64, 64],
        "models": None,
    }
    rows = models(record)
    assert [*rows] == ["test_parcnet", "test_convnext"]
    for name, windows in rows.items():
        assert [window["share"] for window in windows] == [0.3, 0.5, 0.99]
        row = next(line for line in printed.splitlines() if f" {name} " in line)
        assert all(f"{w['height']}x{w['width']} ({w['area']:.1%})" in row for w in windows)
        assert "untrained, seed 0" in row
    with Image.open(out) as picture:
        assert picture.width > picture.height > 100
    assert f"picture: {out}" in printed


def test_the_seed_decides_everything(parckit, tmp_path):
    def areas(seed: int) -> list[dict[str, float]]:
        argv = ("erf", "test_parcnet", "--size=64", "--count=1", f"--seed={seed}")
        parckit(*argv, "--out", tmp_path / "e.png", "--record", tmp_path / "e")
        return models(tmp_path / "e")["test_parcnet"]

    first = areas(1)
    assert areas(1) == first
    assert areas(2) != first


def test_a_trained_model_looks_at_pictures_in_any_folders(parckit, checkpoint, tmp_path):
    folder = write_pictures(tmp_path / "a" / "b", count=2)
    record = tmp_path / "erf.json"
    argv = ("erf", checkpoint, "--size=32x48", "--out", tmp_path / "e.svg", "--record", record)
    printed = parckit(*argv, "--images", tmp_path / "a")
    assert json.loads(record.read_text())["values"]["images"] == 6
    assert f"test_parcnet of {checkpoint}" in printed
    seen = models(record)
    parckit(*argv, "--images", folder, "--count=5")
    assert json.loads(record.read_text())["values"]["images"] == 5
    parckit(*argv, "--count=6")
    assert models(record) != seen


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "models"),
        (["no_such_model"], "no_such_model"),
        (["no/such.ckpt"], "no/such.ckpt"),
        (["test_parcnet", "--images=no/such"], "no/such: no such folder"),
        (["test_parcnet", "--images=EMPTY"], "holds no images"),
        (["test_parcnet", "--out=erf.pdf"], "erf.pdf: pictures are written as .png or .svg"),
        (["test_parcnet", "--size=0"], "--size 0"),
        (["test_parcnet", "--count=0"], "--count"),
        (["test_parcnet", "--seed=-1"], "--seed"),
        (["test_vit", "--size=40"], "test_vit with {} cannot take RGB images of size=(40, 40)"),
        (["test_parcnet", "--imags=x"], "--imags"),
    ],
    ids=str,
)
def test_mistakes_are_named(argv, named, mistake, tmp_path):
    argv = [arg.replace("EMPTY", str(tmp_path)) for arg in argv]
    assert named in mistake("erf", *argv)


def test_a_broken_picture_is_named_and_nothing_is_written(mistake, tmp_path):
    broken = break_picture(write_pictures(tmp_path / "pictures", count=1))
    message = mistake("erf", "test_parcnet", "--images", tmp_path / "pictures", "--out", tmp_path / "erf.png")
    assert str(broken) in message
    assert not (tmp_path / "erf.png").exists()
