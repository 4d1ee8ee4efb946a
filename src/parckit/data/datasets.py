"""The datasets that every source becomes: pictures and what is true of them, by index."""

import logging
import random
from collections.abc import Callable
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from parckit.contract import InputError
from parckit.data.sampling import Draw

OnError = Literal["raise", "skip"]
Target = Any
"""What is true of a picture: a class index, later boxes or a mask. Only the task knows its type."""
Sample = tuple[Tensor, Target]
"""A transformed image (3, H, W) and what is true of it."""
Transform = Callable[[Image.Image, Target], Sample]

_log = logging.getLogger(__name__)


class Targets(Protocol):
    """What is true of every picture, by index: a list, or an array of class indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Target: ...


class TrainTransform(Protocol):
    """A random change of a picture, and of what is true of it, that also brings the picture to a size."""

    def __call__(self, picture: Image.Image, target: Target, *, size: tuple[int, int], share: float) -> Sample:
        """Return the changed sample.

        Args:
            picture: upright RGB.
            target: what is true of it.
            size: (height, width) of the image to return, pixels.
            share: how much of the run lies behind, in [0, 1).

        Shape:
            (3, H, W) float32
        """
        ...


class Table(Protocol):
    """What a kind of source offers: pictures by index. Loader workers copy it, so it may hold no open files."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        ...

    @property
    def served(self) -> str:
        """What of the source serves as the split."""
        ...

    @property
    def targets(self) -> Targets:
        """What is true of every picture; known without decoding any."""
        ...

    def load(self, index: int) -> Image.Image:
        """Decode a picture to upright RGB.

        Raises:
            InputError: if it is broken; names it.
        """
        ...


@final
class IndexedImages(Dataset[Sample | None]):
    """A table's pictures by their index, each passed through a transform; None stands for a broken one.

    Attributes:
        table: where they come from.
        labels: class names by index.
        served: what of the source serves as the split.
    """

    def __init__(self, table: Table, *, transform: Transform, on_error: OnError = "raise") -> None:
        self.table = table
        self.labels = table.labels
        self.served = table.served
        self._transform = transform
        self._on_error: OnError = on_error

    def __len__(self) -> int:
        return len(self.table.targets)

    def __getitem__(self, index: int) -> Sample | None:
        picture = _load(self.table, index, on_error=self._on_error)
        return None if picture is None else self._transform(picture, self.table.targets[index])


@final
class DrawnImages(Dataset[Sample | None]):
    """A table's pictures as a sampler of `Draw` asks for them; None stands for a broken one.

    The generators of torch, numpy and Python are seeded anew for every picture; they stay as its augmentation leaves
    them.

    Attributes:
        labels: class names by index.
    """

    def __init__(self, table: Table, *, transform: TrainTransform, on_error: OnError = "raise") -> None:
        self.labels = table.labels
        self._table = table
        self._transform = transform
        self._on_error: OnError = on_error

    def __len__(self) -> int:
        return len(self._table.targets)

    def __getitem__(self, draw: Draw) -> Sample | None:
        picture = _load(self._table, draw.image, on_error=self._on_error)
        if picture is None:
            return None
        seed_generators(draw.seed)
        return self._transform(picture, self._table.targets[draw.image], size=draw.size, share=draw.share)


def seed_generators(seed: int) -> None:
    """Seed what augmentations draw from: the generators of torch, numpy and Python, but not those of other devices."""
    torch.random.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what timm's policies draw from
    random.seed(seed)


def _load(table: Table, index: int, *, on_error: OnError) -> Image.Image | None:
    """Return a picture; for a broken one, log it and return None if errors are to be skipped."""
    try:
        return table.load(index)
    except InputError as error:
        if on_error == "raise":
            raise InputError(f"{error}; --data.on_error skip leaves such images out") from error
        _log.warning("skipped: %s", error)
        return None
