import numpy as np
import pytest

from parckit.contract import InputError
from parckit.processing import nv12_to_rgb, rgb_to_nv12


def slow_nv12(pixels: np.ndarray, *, limited: bool) -> np.ndarray:
    """One pixel after the other, with the numbers that ITU-T T.871 and ITU-R BT.601 print."""
    height, width = pixels.shape[:2]
    result = np.zeros((height // 2 * 3, width), np.uint8)

    def level(value: float) -> int:
        return int(min(max(round(value), 0), 255))

    for row in range(height):
        for column in range(width):
            red, green, blue = (float(value) for value in pixels[row, column])
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            result[row, column] = level(16 + luma * 219 / 255 if limited else luma)
    for row in range(0, height, 2):
        for column in range(0, width, 2):
            square = pixels[row : row + 2, column : column + 2].reshape(4, 3).astype(float)
            red, green, blue = (sum(square[:, channel]) / 4 for channel in range(3))
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            scale = 224 / 255 if limited else 1
            result[height + row // 2, column] = level(128 + scale * (blue - luma) / 1.772)
            result[height + row // 2, column + 1] = level(128 + scale * (red - luma) / 1.402)
    return result


def slow_rgb(data: np.ndarray) -> np.ndarray:
    """The full range, as ITU-T T.871 prints it."""
    height, width = len(data) // 3 * 2, data.shape[1]
    result = np.zeros((height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            luma = float(data[row, column])
            blue, red = (float(data[height + row // 2, column // 2 * 2 + place]) - 128 for place in range(2))
            rgb = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
            result[row, column] = [int(min(max(round(value), 0), 255)) for value in rgb]
    return result


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize("colour_range", ["full", "limited"])
def test_it_is_the_standards(noise, colour_range):
    data = rgb_to_nv12(noise, colour_range=colour_range)
    # float32 in another order may round a level otherwise.
    assert difference(data, slow_nv12(noise, limited=colour_range == "limited")) <= 1
    if colour_range == "full":
        assert difference(nv12_to_rgb(data), slow_rgb(data)) <= 1


@pytest.mark.parametrize("colour_range", ["full", "limited"])
def test_flat_colours_come_back(colour_range):
    for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255), (12, 200, 77)):
        pixels = np.full((4, 6, 3), colour, np.uint8)
        back = nv12_to_rgb(rgb_to_nv12(pixels, colour_range=colour_range), colour_range=colour_range)
        # Rounding of Y, U and V moves a channel by 0.5 + 1.772 / 2 levels at most, in the limited range by 1.1 times.
        assert difference(back, pixels) <= 2


@pytest.mark.parametrize(("colour_range", "name"), [("full", "JPEG"), ("limited", "MPEG")])
def test_it_agrees_with_ffmpeg(colour_range, name):
    av = pytest.importorskip("av")
    pixels = np.kron(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    theirs = frame.reformat(
        format="nv12", dst_colorspace="ITU601", dst_color_range=name, interpolation="AREA"
    ).to_ndarray()
    # FFmpeg computes with whole numbers.
    assert difference(rgb_to_nv12(pixels, colour_range=colour_range), theirs.reshape(48, 32)) <= 2


def test_odd_sizes_are_refused():
    with pytest.raises(InputError, match="a picture of 5x4 pixels: NV12 needs an even width and height"):
        rgb_to_nv12(np.zeros((4, 5, 3), np.uint8))
