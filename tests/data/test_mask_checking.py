import numpy as np
import pytest

from box_files import write_picture
from mask_files import cut_in_half, paint, quarters, write_mask, write_pairs, write_voc_lists, write_voc_masks
from parckit.cli.main import main
from parckit.contract import InputError
from parckit.data import check_masks
from parckit.processing import IGNORED


def problems(source: object) -> list[tuple[str, str]]:
    """Return kind and file name of every problem."""
    return [(problem.problem, problem.path.name) for problem in check_masks(str(source), threads=2).problems]


def test_a_sound_source_has_no_problem(tmp_path):
    for split in ("train", "val"):
        write_picture(tmp_path / "images" / split / f"{split}.jpg")
        write_mask(tmp_path / "masks" / split / f"{split}.png", quarters())
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    report = check_masks(str(tmp_path), threads=2)
    assert report.lines == (
        "train: 1 pictures, train",
        "train: pixels: road 75 %, car 25 %, ignored 0 %",
        "val: 1 pictures, val",
        "val: pixels: road 75 %, car 25 %, ignored 0 %",
        "faults: nothing",
    )
    assert not report.problems
    assert report.pictures == 2
    assert [member.path.name for member in report.files] == ["train.jpg", "val.jpg"]


def test_every_fault_of_a_mask_is_told_with_its_file(tmp_path):
    masks = {f"good{number}": quarters() for number in range(18)}
    write_pairs(tmp_path, masks | {name: quarters() for name in ("value", "deep", "void", "size", "cut")})
    write_mask(tmp_path / "masks" / "value.png", quarters(0, 9))
    write_mask(tmp_path / "masks" / "deep.png", quarters().astype(np.uint16) * 700)
    write_mask(tmp_path / "masks" / "void.png", quarters(IGNORED, IGNORED))
    write_mask(tmp_path / "masks" / "size.png", quarters(size=(20, 30)))
    cut = tmp_path / "masks" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:60])
    write_picture(tmp_path / "images" / "alone.jpg")
    assert sorted(set(problems(tmp_path))) == [
        ("all void", "void.png"),
        ("broken mask", "cut.png"),
        ("missing mask", "alone.jpg"),
        ("unknown value", "deep.png"),
        ("unknown value", "value.png"),
        ("wrong size", "size.png"),
    ]


def test_anti_aliased_masks_are_told_with_their_files(tmp_path):
    painted = paint(quarters(), {0: (128, 0, 0), 1: (0, 128, 0)})
    smooth = painted.copy()
    smooth[:, 20] = 64
    write_pairs(tmp_path, {"a": painted, "b": smooth})
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,128,0,0\ncar,0,128,0\n")
    assert problems(tmp_path) == [("unknown colour", "b.png")]


def test_classes_without_pixels_and_sources_of_one_class_are_told(tmp_path):
    write_pairs(tmp_path, {name: quarters() for name in "abc"}, classes="road\ncar\nmoose\n")
    assert problems(tmp_path) == [("empty class", tmp_path.name)]
    for name in "abc":
        write_mask(tmp_path / "masks" / f"{name}.png", quarters(1, 1))
    assert problems(tmp_path) == [("one class", tmp_path.name)]


def test_a_picture_in_two_splits_is_told(tmp_path):
    for name in ("a", "b"):
        write_voc_masks(tmp_path, name, quarters())
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    write_voc_lists(tmp_path, train="a\nb\n", val="b\n")
    assert problems(tmp_path) == [("in two splits", "b.jpg")]


def test_drawn_and_painted_masks_are_checked():
    report = check_masks("digit_scenes:4", threads=1)
    assert report.pictures == 4 + 1 + 1
    assert not report.files


def test_a_source_of_no_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        check_masks(str(tmp_path / "nowhere"), threads=1)


def test_the_command_tells_problems_of_masks_and_pictures(tmp_path, capsys):
    masks = {f"good{number}": quarters() for number in range(12)}
    write_pairs(tmp_path, masks | {"tiny": quarters(size=(6, 5)), "value": quarters(0, 9)})
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(tmp_path), "--task=segment", "--smallest=20", "--threads=1"])
    printed = capsys.readouterr().out
    assert ended.value.code == 1
    assert "1 unknown value" in printed
    assert "1 tiny" in printed


def test_what_training_does_with_a_broken_mask_is_told(tmp_path):
    write_pairs(tmp_path, {f"{number:02}": quarters() for number in range(12)})
    cut_in_half(tmp_path / "masks" / "05.png")
    (problem,) = check_masks(str(tmp_path), threads=1).problems
    assert (problem.problem, problem.path.name) == ("broken mask", "05.png")
    assert problem.detail.endswith("training stops here, or leaves the picture out with --data.on_error skip")


def test_colours_without_a_table_are_called_so(tmp_path):
    coloured = paint(quarters(), {0: (128, 0, 0), 1: (0, 128, 0)})
    for split in ("train", "val"):
        write_picture(tmp_path / split / "images" / "a.jpg")
        write_mask(tmp_path / split / "masks" / "a.png", coloured)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    report = check_masks(str(tmp_path), threads=1)
    # Nobody can tell which classes the masks have.
    assert problems(tmp_path) == [("no colour table", "a.png")] * 2
    assert "train: pixels: no mask can be read" in report.lines
    assert report.lines[-1] == "faults: 2 no colour table (a.png)"
