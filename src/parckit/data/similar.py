"""Pictures that look alike though their pixels differ: re-encoded, resized or brightened copies, frames of a video.

A fingerprint is the picture at 8 x 8 pixels. Two pictures look alike if their fingerprints correlate and have the same
mean colour. Copies with other compression, size or brightness nearly always do, and different photographs hardly ever.
Crops and mirrored copies are not found.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

MOST = 100_000
"""Pictures that are compared. Every one is compared with every other one, which takes a minute for so many."""

_SIDE = 8
_ALIKE = 0.98
"""Smallest correlation of two pictures that look alike."""

_SAME_COLOUR = 0.03
"""Largest difference in the shares that red, green and blue have in the mean colour."""

_FLAT = 4.0
"""Standard deviation, grey levels. Fingerprints with less contrast, such as those of a blank page, say nothing."""

_BLOCK = 128
"""Fingerprints that are compared with all others at once; this bounds the memory."""


def fingerprint(picture: Image.Image) -> bytes:
    """Return the fingerprint of an RGB picture."""
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()


def find_similar(fingerprints: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield (picture, first picture that it looks like), for every picture that looks like one before it."""
    pixels = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(fingerprints), _SIDE**2, 3).astype(np.float32)
    means = pixels.mean(axis=1)
    colours = means / np.maximum(means.sum(axis=1, keepdims=True), 1)
    # Correlation is the product of vectors with mean 0 and length 1.
    vectors = (pixels - means[:, None]).reshape(len(pixels), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(lengths, 1)
    vectors[lengths[:, 0] < _FLAT * np.sqrt(vectors.shape[1])] = 0
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        rows, columns = np.nonzero(block @ vectors[: start + len(block)].T >= _ALIKE)
        same = np.abs(colours[start + rows] - colours[columns]).max(axis=1) <= _SAME_COLOUR
        before = columns < start + rows
        rows, columns = rows[same & before], columns[same & before]
        # nonzero sorts by row and column, so the first entry of a row is the first picture that looks alike.
        for row, place in zip(*np.unique(rows, return_index=True), strict=True):
            yield start + int(row), int(columns[place])
