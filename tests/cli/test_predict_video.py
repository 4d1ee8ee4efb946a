"""`parckit predict` on videos: every frame has an answer, and a video is drawn."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from bundles import write_tiny_bundle
from parckit.cli.main import main
from parckit.processing import describe_video, read_video
from parckit.runtimes import load
from videos import RATE, cut_off, frame_pixels, write_video

FRAMES = 12


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return a classifier that runs in no time."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "clips").mkdir()
    return write_video(tmp_path / "clips" / "clip.mp4", [frame_pixels(number) for number in range(FRAMES)])


def test_every_form_names_frame_and_time(tiny, clip, parckit):
    predictor = load(tiny, top=2)
    expected = [(frame, predictor(frame.picture).to_plain()) for frame in read_video(clip)]
    assert len(expected) == FRAMES
    lines = [json.loads(line) for line in parckit("predict", tiny, clip, "--format=jsonl", "--top=2").splitlines()]
    whole = json.loads(parckit("predict", tiny, clip, "--json", "--top=2"))
    assert [*whole] == [str(clip)]
    header, *rows = csv.reader(parckit("predict", tiny, clip, "--format=csv", "--top=2").splitlines())
    assert header == ["picture", "frame", "seconds", "class", "probability"]
    for number, (frame, answer) in enumerate(expected):
        place = {"frame": number, "seconds": round(frame.seconds, 3)}
        assert lines[number] == {"picture": str(clip), **place, "answer": answer}
        assert whole[str(clip)][number] == {**place, "answer": answer}
        assert [row[1:4] for row in rows[2 * number : 2 * number + 2]] == [
            [str(number), json.dumps(place["seconds"]), entry["class"]] for entry in answer
        ]
    table = [line.split("│") for line in parckit("predict", tiny, clip, "--top=1").splitlines() if str(clip) in line]
    assert [(cells[2].strip(), cells[3].strip()) for cells in table] == [
        (str(number), f"{number / float(RATE):.2f}") for number in range(FRAMES)
    ]


def test_videos_and_pictures_of_a_folder_are_answered_together(tiny, clip, parckit):
    Image.fromarray(frame_pixels(3)).save(clip.with_name("a.png"))
    shutil.copy(clip, clip.with_name("z.mp4"))
    printed = json.loads(parckit("predict", tiny, clip.parent, clip, "--json", "--every=5"))
    assert [*printed] == [str(clip.with_name(name)) for name in ("a.png", "clip.mp4", "z.mp4")]
    assert [entry["frame"] for entry in printed[str(clip)]] == [0, 5, 10]
    assert printed[str(clip)] == printed[str(clip.with_name("z.mp4"))]
    lines = parckit("predict", tiny, clip.parent, "--format=csv", "--top=1", "--every=99").splitlines()
    assert [row[1] for row in csv.reader(lines[1:])] == ["", "0", "0"]


def test_a_video_is_drawn_at_its_rate(tiny, clip, tmp_path, parckit):
    parckit("predict", tiny, clip, clip, "--draw", tmp_path / "drawn", "--format=csv")
    names = ["clip.mp4.2.answer.mp4", "clip.mp4.answer.mp4"]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == names
    for name in names:
        assert describe_video(tmp_path / "drawn" / name) == (FRAMES, RATE)
    parckit("predict", tiny, clip, "--draw", tmp_path / "some", "--every=3")
    drawn = tmp_path / "some" / "clip.mp4.answer.mp4"
    assert describe_video(drawn) == (FRAMES // 3, RATE / 3)
    (first, *_), (original, *_) = list(read_video(drawn)), list(read_video(clip))
    assert first.picture.height > original.picture.height  # bars stand below the frame


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
def test_of_a_video_that_was_cut_off_the_first_frames_are_kept(form, tiny, tmp_path, capsys):
    noise = [np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8) for seed in range(40)]
    short = cut_off(write_video(tmp_path / "clip.mkv", noise), share=0.5)
    Image.fromarray(noise[0]).save(tmp_path / "later.png")
    argv = [
        "predict",
        str(tiny),
        str(short),
        str(tmp_path / "later.png"),
        f"--format={form}",
        "--draw",
        str(tmp_path / "drawn"),
    ]
    with pytest.raises(SystemExit) as ending:
        main(argv)
    assert ending.value.code == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"parckit: error: {short}: was cut off; ")
    frames = describe_video(tmp_path / "drawn" / "clip_cut.mkv.answer.mp4").frames
    assert 10 < frames < 30
    assert f" {frames} frames" in line
    assert "later.png" in printed.out
    if form == "json":
        assert len(json.loads(printed.out)[str(short)]) == frames
    if form == "jsonl":
        assert json.loads(printed.out.splitlines()[frames])["error"] in line


def test_nothing_half_is_left_if_the_user_stops(tiny, clip, tmp_path, parckit, monkeypatch):
    def stop(frames):
        yield next(frames)
        raise KeyboardInterrupt

    monkeypatch.setattr("parckit.cli.predict.read_video", lambda *args, **kwargs: stop(read_video(*args, **kwargs)))
    with pytest.raises(SystemExit):
        parckit("predict", tiny, clip, "--draw", tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()


def test_without_the_extra_pictures_are_still_answered(tiny, clip, monkeypatch, capsys):
    Image.fromarray(frame_pixels(3)).save(clip.with_name("a.png"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SystemExit) as ending:
        main(["predict", str(tiny), str(clip.parent), "--json"])
    assert ending.value.code == 2
    printed = capsys.readouterr()
    assert [*json.loads(printed.out)] == [str(clip.with_name("a.png"))]
    (line,) = printed.err.splitlines()
    assert line.startswith(f"parckit: error: {clip}: needs the package av; ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--every=0"], "--every 0: must be a whole number of frames"),
        (["--tiles"], "only detectors"),
        (["--tiles=big"], "--tiles big: must be HEIGHTxWIDTH"),
        (["--tiles", "64,48"], "--tiles 64,48: must be HEIGHTxWIDTH"),
        (["--tile-overlap=0.5"], "--tile_overlap 0.5: is for --tiles"),
        (["--tiles=4", "--tile-overlap=1"], "overlap 1.0"),
        (["--format=coco"], "is for boxes"),
        (["--annotations=x.json"], "is for --format coco"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, told, tiny, clip, mistake):
    assert told in mistake("predict", tiny, clip, *options)


def test_long_tables_are_shown_in_parts(tiny, clip, parckit, monkeypatch):
    monkeypatch.setattr("parckit.cli.answers._MOST_ROWS", 8)
    printed = parckit("predict", tiny, clip, "--top=1")
    assert printed.count("seconds") == 2
    assert printed.count(str(clip)) == FRAMES
