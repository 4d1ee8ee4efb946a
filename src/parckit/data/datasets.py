"""Datasets that give pictures and their targets by index. Every source is opened as one of them."""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from parckit.contract import InputError
from parckit.data.faults import RefusedFaultError
from parckit.data.sampling import Draw
from parckit.processing import Geometry, LeftOut

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

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What the source holds and does not read, such as hidden files."""
        ...

    def name(self, index: int) -> str:
        """Return what errors call a picture, such as the path of its file."""
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

    A picture that cannot be transformed counts as broken too, for example because there is not enough memory.

    Attributes:
        table: where the pictures come from.
    """

    def __init__(self, table: Table, *, transform: Transform, on_error: OnError = "raise") -> None:
        self.table = table
        self._transform = transform
        self._on_error: OnError = on_error

    def __len__(self) -> int:
        return len(self.table.targets)

    def __getitem__(self, index: int) -> Sample | None:
        def make() -> Sample:
            return self._transform(self.table.load(index), self.table.targets[index])

        return _sample(make, name=self.table.name, index=index, on_error=self._on_error)


@final
class DrawnImages(Dataset[Sample | None]):
    """The pictures of a table, loaded by the `Draw`s of a sampler. A broken picture is None, as in `IndexedImages`.

    The random generators of torch, numpy and Python are seeded again for every picture. They are not reset after its
    augmentation.
    """

    def __init__(self, table: Table, *, transform: TrainTransform, on_error: OnError = "raise") -> None:
        self._table = table
        self._transform = transform
        self._on_error: OnError = on_error

    def __len__(self) -> int:
        return len(self._table.targets)

    def __getitem__(self, draw: Draw) -> Sample | None:
        def make() -> Sample:
            picture = self._table.load(draw.image)
            seed_generators(draw.seed)
            return self._transform(picture, self._table.targets[draw.image], size=draw.size, share=draw.share)

        return _sample(make, name=self._table.name, index=draw.image, on_error=self._on_error)


def seed_generators(seed: int) -> None:
    """Seed the generators that augmentations use: torch's on the CPU, numpy's and Python's."""
    torch.random.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm's policies use this generator
    random.seed(seed)


def _sample(make: Callable[[], Sample], *, name: Callable[[int], str], index: int, on_error: OnError) -> Sample | None:
    """Return a sample. If the picture is broken and `on_error` is `"skip"`, log the error and return None.

    Faults that `on_mask_fault` refuses stop the run in any case.
    """
    try:
        return make()
    except RefusedFaultError:
        raise
    except InputError as error:
        problem, cause = str(error), error
    except Exception as error:
        reason = (str(error) or "no reason given").splitlines()[0]
        problem, cause = f"{name(index)}: cannot be prepared ({type(error).__name__}: {reason})", error
    if on_error == "raise":
        raise skippable(problem) from cause
    _log.warning("skipped: %s", problem)
    return None


def skippable(problem: str) -> InputError:
    """Return the error of a broken picture or mask. It names the option that would leave it out."""
    return InputError(f"{problem}; --data.on_error skip leaves such images out")
