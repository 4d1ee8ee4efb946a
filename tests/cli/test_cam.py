import json

import pytest
from PIL import Image


@pytest.fixture
def ranking(parckit, checkpoint, picture) -> list[str]:
    """Return the classes of the picture, most probable first."""
    printed = json.loads(parckit("predict", checkpoint, picture, "--json", "--top=10"))
    return [entry["class"] for entry in printed[str(picture)]]


def classes(printed: str) -> list[str]:
    return [line.split()[1] for line in printed.splitlines() if line.startswith("│")]


def test_the_predicted_classes_are_those_of_predict(parckit, checkpoint, picture, ranking, tmp_path):
    out = tmp_path / "cam.png"
    printed = parckit("cam", checkpoint, picture, "--out", out)
    assert classes(printed) == ranking[:3]
    with Image.open(out) as drawn:
        assert drawn.width > drawn.height > 100
    assert f"picture: {out}" in printed


def test_target_and_layer_change_the_picture(parckit, checkpoint, picture, ranking, tmp_path):
    def drawn(*options: str) -> str:
        parckit("cam", checkpoint, picture, "--out", tmp_path / "cam.svg", *options)
        return (tmp_path / "cam.svg").read_text()

    plain = drawn()
    assert f"supports the class {ranking[0]}" in plain
    assert "layer stages.4" in plain
    other = drawn(f"--target={ranking[-1]}", "--layer=stages.2")
    assert f"supports the class {ranking[-1]}" in other
    assert "layer stages.2" in other


def test_models_by_name_are_said_to_be_untrained(parckit, picture, tmp_path):
    printed = parckit("cam", "test_convnext", picture, "--size=64x96", "--target=7", "--out", tmp_path / "cam.png")
    assert "untrained, seed 0" in printed


def test_images_of_one_row_have_no_contour(parckit, picture, tmp_path):
    parckit("cam", "test_parcnet", picture, "--size=1x500", "--out", tmp_path / "cam.png")
    assert (tmp_path / "cam.png").exists()


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["CHECKPOINT"], "image"),
        (["no_such_model", "PICTURE"], "no_such_model"),
        (["test_parcnet", "no/such.png"], "no/such.png: no such image file"),
        (["CHECKPOINT", "PICTURE", "--target=cat"], "--target cat: must be one of the labels (0, 1, 2, 3, 4, ...)"),
        (["CHECKPOINT", "PICTURE", "--target=10"], "or an index below 10"),
        (["test_parcnet", "PICTURE", "--layer=tail"], "layer='tail'"),
        (["test_vit", "PICTURE"], "no map"),
        (["test_parcnet", "PICTURE", "--out=cam.jpg"], "cam.jpg"),
        (["test_parcnet", "PICTURE", "--size=big"], "--size big"),
        (["test_parcnet", "PICTURE", "--labels=x"], "--labels"),
    ],
    ids=str,
)
def test_mistakes_are_named(argv, named, mistake, checkpoint, picture):
    paths = {"CHECKPOINT": str(checkpoint), "PICTURE": str(picture)}
    assert named in mistake("cam", *(paths.get(arg, arg) for arg in argv))


def test_the_picture_is_not_replaced(checkpoint, picture, mistake):
    before = picture.read_bytes()
    assert "is the picture itself" in mistake("cam", checkpoint, picture, "--out", picture)
    assert picture.read_bytes() == before
