"""`parckit predict` of a detector: tiles, a line for each box, and COCO's result files as other programs read them."""

import csv
import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image

from colour_detector import COLOURS, ColourSession
from parckit.processing import describe_video, read_video
from videos import write_video

SIZE = (48, 64)
PATCHES = {
    "a.png": [(0, (4, 6, 20, 30)), (1, (30, 10, 60, 40))],
    "b.png": [],
    "c.png": [(1, (2, 2, 50, 12))],
}
"""Name of a picture -> colour and box of its patches."""


def paint(patches) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 200, (*SIZE, 3), dtype=np.uint8)
    for colour, (left, top, right, bottom) in patches:
        pixels[top:bottom, left:right] = COLOURS[colour]
    return pixels


@pytest.fixture(autouse=True)
def session(monkeypatch) -> ColourSession:
    session = ColourSession(SIZE)
    monkeypatch.setattr("parckit.cli.predict.open_session", lambda *args, **kwargs: session)
    return session


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, patches in PATCHES.items():
        Image.fromarray(paint(patches)).save(folder / name)
    return folder


@pytest.fixture
def truth(tmp_path):
    """Return a COCO file with numbers of its own, and a category that the network lacks."""
    images = [
        {"id": number, "file_name": f"./photos/{name}", "width": SIZE[1], "height": SIZE[0]}
        for number, name in zip((70, 3, 12, 9), ("c.png", "b.png", "a.png", "other.png"), strict=True)
    ]
    annotations = []
    for image in images[:3]:
        for colour, (left, top, right, bottom) in PATCHES[image["file_name"].removeprefix("./photos/")]:
            width, height = right - left, bottom - top
            polygon = [left, top, right, top, right, bottom, left, bottom]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": (9, 5)[colour],
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
    categories = [{"id": number, "name": name} for number, name in ((5, "green"), (7, "blue"), (9, "red"))]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def average_precision(truth, results, *, kind: str) -> float:
    with redirect_stdout(StringIO()):
        known = COCO(str(truth))
        evaluation = COCOeval_faster(known, known.loadRes(str(results)), kind)
        evaluation.run()
    return float(evaluation.stats[0])


@pytest.mark.parametrize("masks", [False, True])
def test_coco_results_fit_the_annotations(masks, photos, truth, session, parckit, tmp_path):
    session.masks = masks
    # A picture that is named twice counts once.
    printed = parckit("predict", "model", photos, photos / "a.png", "--format=coco", "--annotations", truth)
    results = json.loads(printed)
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == [(12, 9), (12, 5), (70, 5)]
    assert results[0]["bbox"] == [4, 6, 16, 24]
    (tmp_path / "results.json").write_text(printed)
    assert average_precision(truth, tmp_path / "results.json", kind="bbox") == 1
    if masks:
        # torchvision rounds masks down to whole pixels, so they are some pixels larger than the patches.
        assert average_precision(truth, tmp_path / "results.json", kind="segm") > 0.8


def test_without_annotations_new_numbers_are_written_and_used_again(photos, parckit, tmp_path):
    numbers = tmp_path / "numbers.json"
    first = parckit("predict", "model", photos, "--format=coco", "--annotations", numbers)
    content = json.loads(numbers.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert names == {index: str(photos / name) for index, name in enumerate(PATCHES, start=1)}
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (64, 48)
    assert [entry["name"] for entry in content["categories"]] == ["red", "green"]
    assert [names[entry["image_id"]] for entry in json.loads(first)] == [
        str(photos / name) for name in ("a.png", "a.png", "c.png")
    ]
    before = numbers.read_bytes()
    again = parckit("predict", "model", photos / "c.png", "--format=coco", "--annotations", numbers)
    assert json.loads(again) == json.loads(first)[2:]
    assert numbers.read_bytes() == before


def test_frames_have_numbers_too(parckit, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", [paint(PATCHES["a.png"])] * 3)
    numbers = tmp_path / "numbers.json"
    for _ in range(2):
        parckit("predict", "model", clip, "--format=coco", "--annotations", numbers)
    images = json.loads(numbers.read_text())["images"]
    assert [(image["id"], image["file_name"], image["frame"]) for image in images] == [
        (number + 1, str(clip), number) for number in range(3)
    ]


def test_frames_that_the_annotations_lack_are_named_at_the_end(parckit, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.mkv", [paint(PATCHES["a.png"])] * 4, codec="ffv1", pixels="bgr0")
    numbers = tmp_path / "numbers.json"
    command = ("predict", "model", clip, "--format=coco", "--annotations", numbers)
    whole = json.loads(parckit(*command))
    content = json.loads(numbers.read_text())
    numbers.write_text(json.dumps({**content, "images": content["images"][::2]}))
    with pytest.raises(SystemExit) as ending:
        parckit(*command)
    assert ending.value.code == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [entry for entry in whole if entry["image_id"] in {1, 3}]
    assert printed.err == f"parckit: error: {clip}: {numbers} lacks 2 of its frames: 1, 3\n"
    # All frames that were asked for are there.
    assert json.loads(parckit(*command, "--every=2")) == json.loads(printed.out)


def test_a_video_without_any_frame_in_the_annotations_is_refused_before_work(truth, tmp_path, session, mistake):
    clip = write_video(tmp_path / "clip.mp4", [paint([])] * 2)
    told = mistake("predict", "model", clip, "--format=coco", "--annotations", truth)
    assert told == f"{clip}: {truth} has no frame of this video"
    assert session.runs == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "needs --annotations FILE"),
        ("{", "is no COCO file"),
        ("[]", "needs a list 'images'"),
        ('{"images": [{"file_name": "a.png"}], "categories": []}', "needs a list 'images'"),
        ('{"images": [], "categories": [{"id": 1, "name": "cow"}]}', "its categories are cow"),
        ('{"images": [], "categories": [{"id": 1, "name": "red"}]}', "a.png: "),
    ],
)
def test_mistakes_in_annotations_are_named(content, told, photos, tmp_path, mistake):
    options = []
    if content is not None:
        (tmp_path / "wrong.json").write_text(content)
        options = ["--annotations", tmp_path / "wrong.json"]
    assert told in mistake("predict", "model", photos, "--format=coco", *options)


def test_csv_has_a_line_for_every_box(photos, parckit):
    header, *rows = csv.reader(parckit("predict", "model", photos, "--format=csv").splitlines())
    assert header == ["picture", "class", "score", "left", "top", "right", "bottom"]
    assert [(row[0], row[1], *map(float, row[3:])) for row in rows] == [
        (str(photos / "a.png"), "red", 4, 6, 20, 30),
        (str(photos / "a.png"), "green", 30, 10, 60, 40),
        (str(photos / "c.png"), "green", 2, 2, 50, 12),
    ]


@pytest.mark.parametrize("masks", [False, True])
def test_csv_has_the_same_header_if_nothing_is_found(masks, photos, session, parckit):
    session.masks = masks
    (header,) = csv.reader(parckit("predict", "model", photos / "b.png", "--format=csv").splitlines())
    first, *_ = csv.reader(parckit("predict", "model", photos, "--format=csv").splitlines())
    assert header == first
    assert ("mask" in header) == masks


def test_the_table_also_names_pictures_without_objects(photos, parckit):
    (line,) = (line for line in parckit("predict", "model", photos).splitlines() if "b.png" in line)
    assert line.split("│")[2].strip() == "-"


def test_tiles_find_what_is_too_small_in_the_whole_picture(session, parckit, tmp_path):
    small = paint([(0, (10, 10, 13, 14))])
    large = np.tile(small, (5, 5, 1))
    Image.fromarray(large).save(tmp_path / "large.png")
    whole = json.loads(parckit("predict", "model", tmp_path / "large.png", "--json"))
    tiled = parckit("predict", "model", tmp_path / "large.png", "--json", "--tiles")
    assert [*whole.values()] == [[]]
    (answer,) = json.loads(tiled).values()
    expected = {(64 * x + 10, 48 * y + 10, 64 * x + 13, 48 * y + 14) for x in range(5) for y in range(5)}
    assert {tuple(entry["box"]) for entry in answer} == expected
    assert len(answer) == 25
    # Without a size, the option may stand anywhere.
    whole_command = ["predict", "model", tmp_path / "large.png", tmp_path / "large.png", "--json"]
    for place in range(1, 5):
        assert parckit(*whole_command[:place], "--tiles", *whole_command[place:]) == tiled
    for size in (["--tiles=240x160"], ["--tiles", "240x160"]):
        session.runs = 0
        parckit("predict", "model", *size, tmp_path / "large.png", "--json", "--tile_overlap=0")
        assert session.runs == 2 + 1


def test_boxes_are_drawn_in_videos(parckit, tmp_path):
    grey = np.full((*SIZE, 3), 90, np.uint8)
    grey[10:34, 10:50] = COLOURS[1]
    # A codec without loss, or the green would not be pure.
    clip = write_video(tmp_path / "clip.mkv", [grey] * 4, codec="ffv1", pixels="bgr0")
    parckit("predict", "model", clip, "--format=csv", "--draw", tmp_path / "drawn")
    drawn = tmp_path / "drawn" / "clip.mkv.answer.mp4"
    assert describe_video(drawn) == describe_video(clip)
    frames = [np.asarray(frame.picture).astype(int) for frame in read_video(drawn)]
    assert [frame.shape for frame in frames] == [grey.shape] * 4
    for frame in frames:
        # The frame of the second class is orange.
        left_side = frame[16:30, 10:12].mean(axis=(0, 1))
        assert left_side[0] > left_side[1] + 20
