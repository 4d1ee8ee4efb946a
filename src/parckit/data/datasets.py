"""The datasets that every source becomes: its images by index, or as training draws them."""

import logging
import random
from collections.abc import Callable
from typing import Literal, Protocol, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from parckit.contract import InputError
from parckit.data.sampling import Draw

OnError = Literal["raise", "skip"]
Transform = Callable[[Image.Image], Tensor]
Sample = tuple[Tensor, int]
"""A transformed image (3, H, W) and its class index."""

_log = logging.getLogger(__name__)


class TrainTransform(Protocol):
    """A random change of an image that also brings it to a size."""

    def __call__(self, image: Image.Image, size: tuple[int, int], share: float = 0.0) -> Tensor:
        """Return (3, H, W) float32 of `size`, (height, width) in pixels, after a share of the run, in [0, 1)."""
        ...


class ImageTable(Protocol):
    """What a kind of source offers: labelled pictures by index. Loader workers copy it: hold no open files."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        ...

    @property
    def served(self) -> str:
        """What of the source serves as the split."""
        ...

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class index of every picture."""
        ...

    def load(self, index: int) -> Image.Image:
        """Decode a picture to upright RGB.

        Raises:
            InputError: if it is broken; names it.
        """
        ...


@final
class IndexedImages(Dataset[Sample | None]):
    """A table's images by their index; None stands for a broken image that was skipped.

    Attributes:
        labels: class names by index.
        served: what of the source serves as the split.
        table: where the images come from.
    """

    def __init__(self, table: ImageTable, *, transform: Transform, on_error: OnError = "raise") -> None:
        self.labels = table.labels
        self.served = table.served
        self.table = table
        self._transform = transform
        self._on_error: OnError = on_error

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class index of every image, without decoding any."""
        return self.table.targets

    def __len__(self) -> int:
        return len(self.table.targets)

    def __getitem__(self, index: int) -> Sample | None:
        image = _load_or_skip(self.table, index, on_error=self._on_error)
        return None if image is None else (self._transform(image), _target(self.table, index))


@final
class DrawnImages(Dataset[Sample | None]):
    """A table's images as a sampler of `Draw` asks for them; None stands for a broken image that was skipped.

    The generators of torch, numpy and Python are seeded anew for every image, and stay as its augmentation leaves them.

    Attributes:
        labels: class names by index.
        served: what of the source serves as the split.
    """

    def __init__(self, table: ImageTable, *, transform: TrainTransform, on_error: OnError = "raise") -> None:
        self.labels = table.labels
        self.served = table.served
        self._table = table
        self._transform = transform
        self._on_error: OnError = on_error

    def __len__(self) -> int:
        return len(self._table.targets)

    def __getitem__(self, draw: Draw) -> Sample | None:
        image = _load_or_skip(self._table, draw.image, on_error=self._on_error)
        if image is None:
            return None
        _seed_generators(draw.seed)
        return self._transform(image, draw.size, draw.share), _target(self._table, draw.image)


def _load_or_skip(table: ImageTable, index: int, *, on_error: OnError) -> Image.Image | None:
    """Load an image; if it is broken and `on_error` is `"skip"`, log it and return None.

    Raises:
        InputError: if it is broken and `on_error` is `"raise"`; says how to skip it.
    """
    try:
        return table.load(index)
    except InputError as error:
        if on_error == "raise":
            raise InputError(f"{error}; --data.on_error skip leaves such images out") from error
        _log.warning("skipped: %s", error)
        return None


def _seed_generators(seed: int) -> None:
    """Seed what augmentations draw from: the generators of torch, numpy and Python, but not those of other devices."""
    torch.random.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what timm's policies draw from
    random.seed(seed)


def _target(table: ImageTable, index: int) -> int:
    return int(cast("np.int64", table.targets[index]))
