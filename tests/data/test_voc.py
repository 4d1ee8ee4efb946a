from pathlib import Path

import pytest

from box_files import (
    NEAR_DUPLICATES,
    ZERO_SIZE,
    fault_counts,
    fault_files,
    needs_bccd,
    numbers_of,
    voc_object,
    write_picture,
    write_voc,
)
from parckit.contract import InputError
from parckit.data.boxes import box_splits, open_boxes

CAT = voc_object("cat", (3, 4, 12, 15))


def _lists(root: Path, **names: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for split, text in names.items():
        (folder / f"{split}.txt").write_text(text)


@needs_bccd
def test_bccd_has_exactly_the_known_faults_and_the_boxes_of_its_coco_files(bccd):
    near: list[str] = []
    zero: list[str] = []
    for split, count in (("train", 2804), ("val", 1137), ("test", 945)):
        table, same = (open_boxes(str(bccd / name), split=split) for name in ("Annotations", "annotations"))
        assert table.labels == same.labels
        near += fault_files(table, "near duplicate")
        zero += fault_files(table, "zero size")
        order = {table.name(index): index for index in range(len(table.targets))}
        pairs = [(table.targets[order[same.name(index)]], same.targets[index]) for index in range(len(order))]
        assert all(sorted(a.boxes.tolist()) == sorted(b.boxes.tolist()) for a, b in pairs)
        assert sum(len(a.labels) for a, _ in pairs) == count
    assert numbers_of(near) == sorted(NEAR_DUPLICATES)
    assert numbers_of(zero) == sorted(ZERO_SIZE)


@needs_bccd
def test_a_zero_box_of_bccd_can_be_refused(bccd):
    with pytest.raises(InputError, match=r"BloodImage_00338\.xml: zero size: RBC"):
        open_boxes(str(bccd / "Annotations"), split="val", on_box_fault="raise")


def test_pixels_count_from_1_and_the_last_one_belongs_to_the_box(tmp_path):
    thin, exact = voc_object("cat", (5, 4, 5, 15)), voc_object("dog", ("10.5", "4.25", "20", "15.75"))
    write_voc(tmp_path, "a", [CAT, thin, exact])
    table = open_boxes(str(tmp_path), split="all")
    assert table.targets[0].boxes.tolist() == [[2, 3, 12, 15], [4, 3, 5, 15], [9.5, 3.25, 20, 15.75]]
    assert table.targets[0].labels.tolist() == [0, 0, 1]


def test_difficult_objects_are_crowds_and_parts_are_ignored(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    hard = voc_object("dog", (20, 4, 30, 15), extra="<difficult>1</difficult>")
    write_voc(tmp_path, "a", [voc_object("cat", (3, 4, 12, 15), extra=part), hard])
    table = open_boxes(str(tmp_path), split="all")
    assert table.labels == ("cat", "dog")
    assert table.targets[0].crowd.tolist() == [False, True]
    assert table.targets[0].boxes.tolist() == [[2, 3, 12, 15], [19, 3, 30, 15]]


def test_lists_name_the_pictures_of_the_splits(tmp_path):
    for name in ("a", "b", "c d"):
        write_voc(tmp_path, name, [CAT])
    _lists(tmp_path, train="a\nc d.png\n", val="b\n", trainval="a\nb\n", cat_train="a  1\n")
    assert box_splits(str(tmp_path)) == ("train", "val")
    table = open_boxes(str(tmp_path), split="train")
    assert [Path(table.name(index)).stem for index in range(2)] == ["a", "c d"]
    assert open_boxes(str(tmp_path), split="test").served == "val"


def test_trainval_serves_as_train_and_marks_are_no_names(tmp_path):
    for name in ("a", "b"):
        write_voc(tmp_path, name, [CAT])
    _lists(tmp_path, trainval="a -1\nb  1\n")
    assert len(open_boxes(str(tmp_path), split="all").targets) == 2


def test_layouts(tmp_path):
    devkit = tmp_path / "VOCdevkit" / "VOC2007"
    write_voc(devkit, "a", [CAT])
    for source in (tmp_path, tmp_path / "VOCdevkit", devkit, devkit / "Annotations"):
        assert open_boxes(str(source), split="all").name(0) == str(devkit / "JPEGImages" / "a.png")
    write_voc(tmp_path / "VOCdevkit" / "VOC2012", "b", [CAT])
    with pytest.raises(InputError, match="holds VOC2007, VOC2012; name one"):
        open_boxes(str(tmp_path / "VOCdevkit"), split="train")


def test_files_may_lie_beside_the_pictures_as_roboflow_writes_them(tmp_path):
    for split in ("train", "valid"):
        path = write_voc(tmp_path / "made" / "elsewhere", split, [CAT])
        (tmp_path / split).mkdir()
        path.rename(tmp_path / split / "a.xml")
        write_picture(tmp_path / split / "a.png")
    assert box_splits(str(tmp_path)) == ("train", "val")
    assert open_boxes(str(tmp_path), split="val").name(0) == str(tmp_path / "valid" / "a.png")


def test_a_list_gives_the_order_of_the_classes(tmp_path):
    write_voc(tmp_path, "a", [CAT, voc_object("cow", (20, 4, 30, 15))])
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    table = open_boxes(str(tmp_path), split="all")
    assert table.labels == ("dog", "cat")
    assert table.targets[0].labels.tolist() == [1]
    assert fault_counts(table) == {"unknown class": 1}


def test_faults(tmp_path):
    write_voc(tmp_path, "a", [CAT, voc_object("cat", (9, 9, 9, 9)), voc_object("cat", (0, 4, 12, 27))])
    write_voc(tmp_path, "unsized", [CAT], size=(0, 0))
    wrong = write_voc(tmp_path, "wrong", [CAT], size=(10**30, 30))
    write_voc(tmp_path, "missing", [CAT])
    (tmp_path / "JPEGImages" / "missing.png").unlink()
    write_voc(tmp_path, "broken", [CAT])
    (tmp_path / "JPEGImages" / "broken.png").write_bytes(b"no picture")
    write_picture(tmp_path / "JPEGImages" / "unlabelled.png")
    table = open_boxes(str(tmp_path), split="all")
    assert fault_counts(table) == {
        "zero size": 1,
        "partly outside": 1,
        "wrong size": 1,
        "missing picture": 1,
        "broken picture": 1,
        "missing labels": 1,
    }
    assert fault_files(table, "wrong size") == [str(wrong)]
    assert [Path(table.name(index)).stem for index in range(len(table.targets))] == ["a", "unsized"]
    assert table.targets[0].boxes.tolist() == [[2, 3, 12, 15], [0, 3, 12, 27]]


WRONG = {
    "no xml": ("<annotation>", "cannot be read as XML"),
    "no name": ("<annotation><object/></annotation>", "needs a bndbox with the numbers"),
    "a word": (f"<annotation>{voc_object('cat', (1, 2, 3, 'x'))}</annotation>", "needs a bndbox with the numbers"),
    "no class": (f"<annotation>{voc_object('', (1, 2, 3, 4))}</annotation>", "an object has no name"),
    "size": ("<annotation><size><width>a</width></size></annotation>", "width and height must be numbers"),
    "not a number": (f"<annotation>{voc_object('cat', (1, 2, 3, 'nan'))}</annotation>", "must be finite"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_named(tmp_path, text, said):
    path = write_voc(tmp_path, "a", [])
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        open_boxes(str(tmp_path), split="all")
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_shares_of_the_picture_are_refused(tmp_path):
    write_voc(tmp_path, "a", [voc_object("cat", (0.1, 0.2, 0.5, 0.9))])
    with pytest.raises(InputError, match="as shares of the picture"):
        open_boxes(str(tmp_path), split="all")


def test_lists_without_files_and_files_without_objects_are_refused(tmp_path):
    write_voc(tmp_path, "a", [])
    with pytest.raises(InputError, match="none of its 1 xml files has an object"):
        open_boxes(str(tmp_path), split="all")
    _lists(tmp_path, train="b\nc\n")
    with pytest.raises(InputError, match=r"none of the xml files .* such as .*b\.xml"):
        open_boxes(str(tmp_path), split="train")


def test_masks_are_not_in_these_files(tmp_path):
    write_voc(tmp_path, "a", [CAT])
    with pytest.raises(InputError, match="has no masks"):
        open_boxes(str(tmp_path), split="all", masks=True)
