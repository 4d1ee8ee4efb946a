"""Frames of real video files, whole ones and damaged ones, and videos made of pictures."""

import sys
import tracemalloc
from collections import deque
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from parckit.contract import InputError, MissingExtraError
from parckit.processing import VideoWriter, describe_video, is_video, read_video
from videos import RATE, cut_off, frame_pixels, turn, write_video

PICTURES = [frame_pixels(number) for number in range(40)]
ENDINGS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4", "mpg": "mpeg2video"}


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", PICTURES)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_frame_comes_in_order_with_its_time(ending, tmp_path):
    path = write_video(tmp_path / f"clip.{ending}", PICTURES, codec=ENDINGS[ending])
    frames = list(read_video(path))
    assert [frame.number for frame in frames] == [*range(40)]
    # Matroska and WebM round times to milliseconds. FFmpeg's MPEG encoder leaves out the time of one frame.
    assert [frame.seconds for frame in frames] == pytest.approx(
        [float(i / RATE) for i in range(40)], abs=0.034 if ending == "mpg" else 6e-4
    )
    assert {frame.picture.size for frame in frames} == {(64, 48)}
    levels = [np.asarray(frame.picture).mean() for frame in frames]
    # Frames differ by 4 levels. Old codecs lose more than new ones.
    atol = 4 if ending in {"avi", "mpg"} else 1.9
    np.testing.assert_allclose(levels, [pixels.mean() for pixels in PICTURES], atol=atol)
    assert is_video(path)
    assert describe_video(path).rate == RATE


def test_only_some_frames_can_be_asked_for(video):
    assert [frame.number for frame in read_video(video, every=15)] == [0, 15, 30]
    with pytest.raises(InputError, match="every=0"):
        next(read_video(video, every=0))


def test_a_header_tells_the_number_of_frames(video):
    assert describe_video(video).frames == 40


def test_frames_of_phones_are_turned_upright(tmp_path):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :16] = 255  # white at the left; turned with the clock, at the top
    path = write_video(tmp_path / "phone.mp4", [pixels] * 3)
    turn(path)
    picture = next(read_video(path)).picture
    assert picture.size == (48, 64)
    rows = np.asarray(picture).mean(axis=(1, 2))
    assert rows[:12].min() > 200
    assert rows[-40:].max() < 50


@pytest.mark.parametrize("ending", ENDINGS)
def test_of_a_file_that_was_cut_off_the_first_frames_come(ending, tmp_path):
    # An MP4 file has its table of frames at the end, unless it was written for the web.
    options = {"movflags": "faststart"} if ending == "mp4" else None
    noise = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(60)]
    path = write_video(tmp_path / f"clip.{ending}", noise, codec=ENDINGS[ending], options=options)
    frames = read_video(cut_off(path, share=0.5))
    assert next(frames).number == 0
    with pytest.raises(InputError, match=r"clip_cut\.\w+: .* frames"):
        deque(frames, maxlen=0)


def test_what_is_no_video_is_refused(tmp_path, video):
    (tmp_path / "words.mp4").write_text("words")
    with pytest.raises(InputError, match=r"words\.mp4: cannot be read as a video"):
        next(read_video(tmp_path / "words.mp4"))
    with pytest.raises(InputError, match=r"none\.mp4: no such video file"):
        describe_video(tmp_path / "none.mp4")
    # The table of frames at the end of the file is lost.
    with pytest.raises(InputError, match="cannot be read as a video"):
        next(read_video(cut_off(video, share=0.5)))


def test_the_limit_of_pixels_holds_for_frames(video, monkeypatch):
    monkeypatch.setenv("PARCKIT_MAX_PIXELS", "3000")
    with pytest.raises(InputError, match="64x48 pixels"):
        next(read_video(video))


def test_without_pyav_the_extra_is_named(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r'pip install "parckit\[video\]"'):
        next(read_video(video))


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1)], ids=str)
@pytest.mark.parametrize("rate", [RATE, Fraction(25), Fraction(15, 2)], ids=str)
def test_pictures_become_a_video_of_their_size_and_rate(size, rate, tmp_path):
    path = tmp_path / "out.bin"
    with VideoWriter(path, rate=rate) as writer:
        for number in range(10):
            writer.write(Image.new("RGB", size, (20 * number,) * 3), seconds=3 + number / float(rate))
    frames = list(read_video(path))
    assert [frame.picture.size for frame in frames] == [tuple(side + side % 2 for side in size)] * 10
    assert [frame.seconds for frame in frames] == pytest.approx(
        [number / float(rate) for number in range(10)], abs=1e-4
    )
    assert describe_video(path) == (10, rate)
    # The codec loses a little, and more of a single pixel beside black ones.
    level = np.asarray(frames[9].picture)[: size[1], : size[0]].mean()
    assert level == pytest.approx(180, abs=4 if max(size) > 1 else 30)


def test_pictures_of_another_size_stay_whole(tmp_path):
    taller = Image.new("RGB", (64, 96))
    taller.paste("white", (0, 80, 64, 96))
    usual, small = (Image.new("RGB", size, "white") for size in ((64, 48), (32, 24)))
    with VideoWriter(tmp_path / "a.mp4", rate=RATE) as writer:
        for number, picture in enumerate((usual, taller, small)):
            writer.write(picture, seconds=number / float(RATE))
    first, larger, smaller = (np.asarray(frame.picture) for frame in read_video(tmp_path / "a.mp4"))
    assert first.shape == larger.shape == smaller.shape
    # The lowest rows are there, at half the size; a black border fills the rest.
    assert larger[42:46, 4:28].min() > 200
    assert larger[:36].max() < 50
    assert larger[:, 36:].max() < 50
    assert smaller[40, 60].max() < 50


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for length in (20, 200):
        path = write_video(tmp_path / f"{length}.mp4", [frame_pixels(0, size=(240, 320))] * length)
        tracemalloc.start()
        for _ in read_video(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A frame has 230 kB.
    assert peaks[1] - peaks[0] < 100_000
