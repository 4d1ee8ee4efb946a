"""Folders of small pictures whose class can be told by their colour."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")


def coloured(colour: str, *, size: tuple[int, int] = (20, 24), seed: int = 0) -> Image.Image:
    """Make a picture of noise, (height, width) pixels, in which one colour is the brightest everywhere."""
    pixels = np.random.default_rng(seed).integers(0, 128, (*size, 3), dtype=np.uint8)
    pixels[..., COLOURS.index(colour)] += 127
    return Image.fromarray(pixels)


def write_pictures(folder: Path, *, count: int, colours: Sequence[str] = COLOURS, seed: int = 0) -> Path:
    """Write `count` PNG files into a class folder for each colour; return `folder`."""
    seeds = _seeds(seed)
    for colour in colours:
        (folder / colour).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            coloured(colour, seed=seeds[number]).save(folder / colour / f"{number:03}.png")
    return folder


@functools.cache
def _seeds(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(1_000_000)


def write_noise(folder: Path, *, labels: Sequence[str], count: int) -> Path:
    """Write `count` pictures of noise for each class, so that every answer is chance; return `folder`."""
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for seed in range(count):
            coloured("red", seed=100 * number + seed).save(folder / label / f"{seed:02}.png")
    return folder


def break_picture(folder: Path, *, number: int = 0, colour: str = "red") -> Path:
    """Cut a picture off in its middle; return its path."""
    path = folder / colour / f"{number:03}.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path
