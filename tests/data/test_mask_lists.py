"""Lists of pictures beside folders of masks decide which picture belongs to which split."""

from pathlib import Path

import numpy as np
import pytest

from box_files import write_picture
from mask_files import quarters, write_mask, write_pairs
from parckit.contract import InputError
from parckit.data import check_masks, open_mask_table


def names(source: Path, split: str) -> list[str]:
    """Return the pictures of a split, as paths in the source."""
    table = open_mask_table(str(source), split=split)
    return [Path(table.name(index)).relative_to(source).as_posix() for index in range(len(table.targets))]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return write_pairs(tmp_path, {name: quarters(0, 1) for name in ("a", "b c", "d.e", "f", "g")})


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "{}.jpg",
        "images/{}.jpg",
        "./images/{}",
        "images\\{}.jpg",
        "/mnt/ann/streets/images/{}.jpg",
        "images/{}.jpg masks/{}.png",
        "/mnt/ann/streets/images/{}.jpg,/mnt/ann/streets/masks/{}.png",
    ],
)
def test_every_usual_form_of_a_line_is_read(flat: Path, line: str):
    # A line of two paths is split at the space between them, so its names have none.
    wanted = ("f", "d.e", "a") if line.count("{}") == 2 else ("f", "d.e", "b c")
    (flat / "train.txt").write_text("\n".join(line.replace("{}", name) for name in wanted) + "\n\n")
    (flat / "val.txt").write_text(line.replace("{}", "g"))
    assert names(flat, "train") == [f"images/{name}.jpg" for name in wanted]
    assert names(flat, "val") == ["images/g.jpg"]
    assert open_mask_table(str(flat), split="val").served == "val, split by train.txt, val.txt"


def test_a_split_without_a_list_has_the_rest(flat: Path):
    (flat / "validation.txt").write_text("a\n")
    (flat / "test.txt").write_text("f\ng\n")
    assert names(flat, "train") == ["images/b c.jpg", "images/d.e.jpg"]
    assert names(flat, "val") == ["images/a.jpg"]
    assert names(flat, "test") == ["images/f.jpg", "images/g.jpg"]


def test_lists_decide_where_folders_disagree(tmp_path: Path):
    for split in ("train", "val"):
        for number in range(2):
            write_picture(tmp_path / split / f"{number}.png")
            write_mask(tmp_path / f"{split}annot" / f"{number}.png", quarters(0, number))
            write_mask(tmp_path / "better" / f"{split}{number}.png", quarters(1, 0))
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    (tmp_path / "train.txt").write_text("train/1.png trainannot/1.png\n/SegNet/CamVid/val/0.png better/val0.png\n")
    assert names(tmp_path, "train") == ["train/1.png", "val/0.png"]
    # A mask that a list names is taken before one of the same name as the picture, wherever it lies.
    np.testing.assert_array_equal(open_mask_table(str(tmp_path), split="train").targets[1], quarters(1, 0))
    assert names(tmp_path, "val") == ["val/1.png"]
    (tmp_path / "val.txt").write_text("0\n")
    assert names(tmp_path, "val") == ["val/0.png"]
    assert {problem.problem for problem in check_masks(str(tmp_path), threads=1).problems} == {"in two splits"}


def test_what_a_list_names_and_nobody_has_is_told(flat: Path, caplog: pytest.LogCaptureFixture):
    write_picture(flat / "images" / "alone.jpg")
    (flat / "train.txt").write_text("a\nnobody\nalone\nother/f.jpg\nimages/g.jpg masks/none.png\n")
    (flat / "val.txt").write_text("b c")
    table = open_mask_table(str(flat), split="train")
    assert [fault.kind for fault in table.faults] == [
        "missing picture",
        "missing mask",
        "missing picture",
        "missing mask",
    ]
    assert "2 missing picture" in caplog.text
    with pytest.raises(InputError, match=r"nobody: missing picture: is in train\.txt"):
        open_mask_table(str(flat), split="train", on_mask_fault="raise")


def test_a_picture_is_listed_once(flat: Path):
    (flat / "train.txt").write_text("a\nimages/a.jpg\n")
    with pytest.raises(InputError, match=r"train\.txt: lists the picture .*a\.jpg twice"):
        open_mask_table(str(flat), split="train")
