"""Datasets that give pictures and their targets by index. Every source is opened as one of them."""

import logging
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from parckit.contract import InputError
from parckit.data.sampling import Draw
from parckit.processing import Geometry

OnError = Literal["raise", "skip"]
Target = Any
"""The ground truth of a picture: a class index, later boxes or a mask. Only the task knows its type."""


class Sample(NamedTuple):
    """A picture and its target after a transform.

    Attributes:
        image: (3, H, W), or as the network's input says.
        target: the ground truth, changed as the picture was.
        geometry: where the image lies in the picture; None in training.
    """

    image: Tensor
    target: Target
    geometry: Geometry | None = None


Transform = Callable[[Image.Image, Target], Sample]
"""Makes a sample of a picture and its target."""

_log = logging.getLogger(__name__)


class Targets(Protocol):
    """The targets of all pictures, by index: a list, or an array of class indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Target: ...


class TrainTransform(Protocol):
    """A random change of a picture and its target. It also resizes or crops the picture to a size."""

    def __call__(self, picture: Image.Image, target: Target, *, size: tuple[int, int], share: float) -> Sample:
        """Return the changed sample.

        Args:
            picture: upright RGB.
            target: ground truth of the picture.
            size: (height, width) of the image to return, pixels.
            share: share of the run before this epoch, in [0, 1).

        Shape:
            (3, H, W) float32
        """
        ...


class Table(Protocol):
    """Pictures by index, as every kind of source offers them. It must hold no open files: loader workers copy it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        ...

    @property
    def served(self) -> str:
        """Which part of the source serves as this split, for records."""
        ...

    @property
    def targets(self) -> Targets:
        """The targets of all pictures, known without decoding a picture."""
        ...

    def load(self, index: int) -> Image.Image:
        """Decode a picture to upright RGB.

        Raises:
            InputError: if the picture is broken; the message names the picture.
        """
        ...


@final
class IndexedImages(Dataset[Sample | None]):
    """The pictures of a table by index, after a transform. A broken picture is None if `on_error` is `"skip"`.

    Attributes:
        table: where the pictures come from.
        labels: class names by index.
        served: which part of the source serves as this split.
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
    """The pictures of a table, loaded by the `Draw`s of a sampler. A broken picture is None, as in `IndexedImages`.

    The random generators of torch, numpy and Python are seeded again for every picture. They are not reset after its
    augmentation.

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
    """Seed the generators that augmentations use: torch's on the CPU, numpy's and Python's."""
    torch.random.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm's policies use this generator
    random.seed(seed)


def _load(table: Table, index: int, *, on_error: OnError) -> Image.Image | None:
    """Return a picture. If it is broken and `on_error` is `"skip"`, log the error and return None."""
    try:
        return table.load(index)
    except InputError as error:
        if on_error == "raise":
            raise InputError(f"{error}; --data.on_error skip leaves such images out") from error
        _log.warning("skipped: %s", error)
        return None
