"""Pictures that look alike though their pixels differ: re-encoded, resized or brightened copies, frames of a video.

A fingerprint is the picture in grey at 16 x 16 pixels. Two pictures look alike if their fingerprints correlate. Copies
with other compression, size or brightness nearly always do, and different photographs hardly ever. Crops and mirrored
copies are not found.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST = 100_000
"""Pictures that are compared; every one is compared with every other one, which takes a minute for so many."""

_SIDE = 16
_ALIKE = 0.98
"""Smallest correlation of two pictures that look alike."""

_FLAT = 4.0
"""Standard deviation, grey levels. Fingerprints with less contrast, such as those of a blank page, say nothing."""

_BLOCK = 1024
"""Fingerprints that are compared with all others at once; this bounds the memory."""


def fingerprint(picture: Image.Image) -> bytes:
    """Return the fingerprint of an RGB picture."""
    return picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()


def find_similar(fingerprints: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield (picture, first picture that it looks like), for every picture that looks like one before it.

    Shape:
        (N, 256)
    """
    centred = fingerprints.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    is_flat = norms[:, 0] < _FLAT * _SIDE
    centred /= np.maximum(norms, 1)
    centred[is_flat] = 0
    for start in range(0, len(centred), _BLOCK):
        block = centred[start : start + _BLOCK]
        alike = block @ centred[: start + len(block)].T >= _ALIKE
        # Only pictures before this one count.
        alike &= np.arange(alike.shape[1]) < np.arange(start, start + len(block))[:, None]
        for row in np.flatnonzero(alike.any(axis=1)):
            yield start + int(row), int(alike[row].argmax())
