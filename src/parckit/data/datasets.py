"""The datasets that every source becomes: images by index, or a common base for streams."""

import logging
from abc import ABC
from collections.abc import Callable
from typing import Literal, Protocol, cast, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from parckit.contract import InputError

OnError = Literal["raise", "skip"]
Transform = Callable[[Image.Image], Tensor]
Sample = tuple[Tensor, int]
"""A transformed image (3, H, W) and its class index."""

_log = logging.getLogger(__name__)


class ImageTable(Protocol):
    """What a kind of source offers: labelled pictures by index. Loader workers copy it: hold no open files."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
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


class ImageDataset(Dataset[Sample | None], ABC):
    """Abstract: labelled images, each passed through a transform; None stands for a broken one that was skipped.

    Attributes:
        labels: class names by index.
    """

    labels: tuple[str, ...]


@final
class IndexedImages(ImageDataset):
    """A table's images in a fixed order."""

    def __init__(self, table: ImageTable, *, transform: Transform, on_error: OnError = "raise") -> None:
        self.labels = table.labels
        self._table = table
        self._transform = transform
        self._on_error: OnError = on_error

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class index of every image, without decoding any."""
        return self._table.targets

    def __len__(self) -> int:
        return len(self._table.targets)

    def __getitem__(self, index: int) -> Sample | None:
        image = load_or_skip(lambda: self._table.load(index), on_error=self._on_error)
        return None if image is None else (self._transform(image), int(cast("np.int64", self._table.targets[index])))


def load_or_skip(load: Callable[[], Image.Image], *, on_error: OnError) -> Image.Image | None:
    """Return what `load` gives; for a broken image, log it and return None if errors are to be skipped.

    Raises:
        InputError: the loader's, with a word on how to skip, if `on_error` is `"raise"`.
    """
    try:
        return load()
    except InputError as error:
        if on_error == "raise":
            raise InputError(f"{error}; --data.on_error skip leaves such images out") from error
        _log.warning("skipped: %s", error)
        return None
