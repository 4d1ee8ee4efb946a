"""What every engine offers."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, ModelSpec

Runtime = Literal["torch", "onnxruntime"]
Images = npt.NDArray[np.float32]
"""Preprocessed images, (B, 3, H, W)."""
Logits = npt.NDArray[np.float32]
"""One row of class scores per image, (B, num_classes)."""


class Session(Protocol):
    """A model loaded into an engine.

    Attributes:
        spec: what the model is and how its images are preprocessed.
        engine: the engine's name and version, such as `"onnxruntime 1.31.1"`.
        batch_size: images of one run; others are served in chunks of it.
    """

    spec: ModelSpec
    engine: str
    batch_size: int

    def __call__(self, images: Images) -> Logits:
        """Run the model on any number of images.

        Raises:
            InputError: if `images` has another type or shape than the model takes.

        Shape:
            (B, 3, H, W) -> (B, num_classes)
        """
        ...


def check_threads(threads: int | None) -> None:
    """Raise InputError unless `threads` is None or at least 1."""
    if threads is not None and threads < 1:
        raise InputError(f"threads={threads}: must be at least 1")


def check_images(images: Images, *, size: tuple[int, int] | None) -> None:
    """Raise InputError unless `images` is (B, 3, H, W) float32, of `size` (height, width) where one is given."""
    fits = images.ndim == 4 and images.shape[1] == 3 and (size is None or images.shape[2:] == size)
    if not fits or images.dtype != np.float32:
        height, width = size or ("H", "W")
        raise InputError(
            f"images of shape {images.shape} and type {images.dtype}: must be (B, 3, {height}, {width}) float32"
        )
