from pathlib import Path

import pytest

from box_files import (
    NEAR_DUPLICATES,
    ZERO_SIZE,
    coco,
    needs_bccd,
    numbers_of,
    voc_object,
    write_coco,
    write_picture,
    write_voc,
    write_yolo,
)
from parckit.contract import InputError
from parckit.data import digit_scenes, open_boxes, voc
from parckit.data.box_checking import check_boxes
from parckit.data.checking import find_problems, inspect

CAT = "0 0.175 0.3 0.25 0.4\n"


@needs_bccd
def test_bccd_has_exactly_the_ten_known_problems(bccd):
    report = check_boxes(str(bccd / "Annotations"))
    by_kind = {
        kind: numbers_of([str(problem.path) for problem in report.problems if problem.problem == kind])
        for kind in {problem.problem for problem in report.problems}
    }
    assert by_kind == {"near duplicate": sorted(NEAR_DUPLICATES), "zero size": sorted(ZERO_SIZE)}
    assert report.pictures == 364
    assert report.lines[0] == "train: 205 pictures, 2804 boxes, train (RBC 2381, WBC 214, Platelets 209)"
    assert "2 zero size (BloodImage_00343.xml, BloodImage_00338.xml)" in report.lines[-1]


@needs_bccd
def test_one_pair_of_pictures_of_bccd_looks_alike(bccd):
    members = check_boxes(str(bccd / "Annotations")).files
    (alike,) = find_problems([*filter(None, inspect(members, threads=1))])
    # The next pair of BCCD's file `same_field_pairs.tsv` is shifted by 26 pixels, which is too much.
    assert alike.problem == "looks alike"
    assert {alike.path.stem, Path(alike.detail.partition(",")[0]).stem} == {"BloodImage_00037", "BloodImage_00038"}
    assert alike.detail.endswith("in another split")


def test_every_split_is_told_and_checked(tmp_path):
    write_yolo(tmp_path, {"a": CAT + CAT, "b": CAT}, split="val")
    write_yolo(tmp_path, {"a": CAT, "b": None, "c": "7 0.5 0.5 0.1 0.1\n"})
    (tmp_path / "data.yaml").write_text(
        "names: [cat, dog]\ntrain: images/train\nval: images/val\ntest: [images/val, images/nowhere]\n"
    )
    report = check_boxes(str(tmp_path))
    assert report.lines[0] == "train: 3 pictures, 1 boxes, train (cat 1, dog 0)"
    assert report.lines[2] == "val: 2 pictures, 2 boxes, val (cat 2, dog 0)"
    kinds = [problem.problem for problem in report.problems]
    assert kinds == ["empty class", "refused", "unknown class", "duplicate"]
    assert "1 background (b.png)" in report.lines[-1]
    assert "nowhere" in report.problems[1].detail
    assert report.problems[0].detail == "train has no box of 'dog'"


def test_pictures_in_two_splits_are_found(tmp_path):
    path = write_yolo(tmp_path, {"a": CAT, "b": CAT})
    path.write_text("names: [cat]\ntrain: images/train\nval: images/train\n")
    problems = check_boxes(str(tmp_path)).problems
    assert [(problem.problem, problem.detail) for problem in problems] == [("in two splits", "train and val")] * 2


def test_masks_are_checked_if_all_objects_have_one(tmp_path):
    write_picture(tmp_path / "train" / "a.png")
    boxes = [
        {"bbox": [2, 3, 10, 12], "segmentation": [[2, 3, 12, 3]]},
        {"bbox": [20, 3, 10, 12], "segmentation": [[20, 3, 30, 3, 30, 15]]},
    ]
    write_coco(tmp_path / "annotations" / "train.json", coco(boxes))
    write_picture(tmp_path / "val" / "a.png")
    write_coco(tmp_path / "annotations" / "val.json", coco([{"bbox": [2, 3, 10, 12]}]))
    assert [problem.problem for problem in check_boxes(str(tmp_path)).problems] == [
        "empty class",
        "bad mask",
    ]


def test_difficult_objects_are_told_apart_as_training_does(tmp_path):
    hard = voc_object("dog", (20, 4, 30, 15), extra="<difficult>1</difficult>")
    write_voc(tmp_path, "a", [voc_object("cat", (3, 4, 12, 15)), hard])
    write_voc(tmp_path, "b", [hard])
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("a\nb\n")
    (tmp_path / "ImageSets" / "val.txt").write_text("")
    report = check_boxes(str(tmp_path))
    told = "train: 2 pictures, 1 boxes, train (cat 1, dog 0); 2 crowds or difficult ones are not counted"
    assert report.lines[0] == told
    assert "0 to 1 boxes in a picture, 1 pictures without" in report.lines[1]
    assert open_boxes(str(tmp_path), split="train").targets.count_objects(classes=2).tolist() == [1, 0]


def test_files_that_serve_as_two_splits_are_read_once(tmp_path, monkeypatch):
    for number in range(12):
        write_voc(tmp_path, f"{number:02}", [voc_object("cat", (3, 4, 12, 15))])
    write_picture(tmp_path / "JPEGImages" / "unlabelled.png")
    read = []

    def note(path, parse=voc._parse):
        read.append(path)
        return parse(path)

    monkeypatch.setattr(voc, "_parse", note)
    report = check_boxes(str(tmp_path))
    assert len(read) == 12
    assert report.pictures == 12
    assert [problem.problem for problem in report.problems] == ["missing labels"]


def test_digit_scenes_are_sound_and_drawn_once(monkeypatch):
    drawn = []

    def note(*args, draw=digit_scenes._draw_scene, **options):
        drawn.append(options)
        return draw(*args, **options)

    monkeypatch.setattr(digit_scenes, "_draw_scene", note)
    report = check_boxes("digit_scenes:20")
    assert len(drawn) == 26
    assert report.problems == ()
    assert report.lines[0].startswith("train: 20 pictures, ")
    assert report.pictures == 26


def test_a_source_of_which_nothing_can_be_used_is_refused(tmp_path):
    write_yolo(tmp_path, {"a": "0 20 15 10 12\n"})
    with pytest.raises(InputError, match="no box of train is in shares"):
        check_boxes(str(tmp_path))
