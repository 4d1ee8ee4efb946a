"""Transforms from a picture and the class of every pixel to a network's input, for evaluation and for training."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, cast, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from parckit.contract import InputError, InputSpec, Preprocessing
from parckit.data.datasets import Sample, TrainTransform, Transform
from parckit.data.pixel_classes import PixelClasses
from parckit.processing import FLOAT_NCHW, IGNORED, Geometry, preprocess, to_array

Resize = Literal["fit", "shorter_side"]

_TRIALS = 10
"""Crops that are tried until one is not full of one class."""

_STEP = 4
"""The shares of the classes in a crop are counted on every fourth pixel of every fourth row."""

_LARGEST_SCALE = 4.0


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class MaskAugmentSettings:
    """Changes of a picture and its mask in training. The defaults are usual on ADE20K and Cityscapes.

    Attributes:
        scale: the picture becomes larger or smaller by a random factor between these two, and is then cropped or padded
            at random to the input's size. `[1.0, 1.0]` changes nothing.
        resize: what factor 1 means: `"fit"` fits the picture to the input's size as evaluation does (before a centre
            crop), `"shorter_side"` gives the picture's shorter side the length of the input's and keeps the aspect
            ratio. With an input of 512 x 512, `[0.75, 1.5]` gives shorter sides from 384 to 768 pixels.
        pad: whether a picture may become smaller than the input; the rest is padding then, which is not trained on.
            Otherwise such a picture is made just large enough.
        most_of_a_class: largest share of the pixels of a crop that one class may have. Up to 10 crops are tried, and
            the last one is taken in any case. 1 takes the first crop.
        colour: probability of each change of brightness, contrast, saturation, hue and of the order of the channels.
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    resize: Resize = "fit"
    pad: bool = True
    most_of_a_class: float = 0.75
    colour: float = 0.5
    flip: float = 0.5
    flip_vertical: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= _LARGEST_SCALE:
            raise InputError(
                f"scale={list(self.scale)}: must be two ascending factors, from above 0 to {_LARGEST_SCALE}"
            )
        if self.resize not in get_args(Resize):
            raise InputError(f"resize={self.resize!r}: choose from {get_args(Resize)}")
        for name in ("most_of_a_class", "colour", "flip", "flip_vertical"):
            if not 0 <= (value := cast("float", getattr(self, name))) <= 1:
                raise InputError(f"{name}={value}: must lie in 0..1")


def eval_mask_transform(preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW) -> Transform:
    """Return the evaluation preprocessing of a picture and its mask for a network's input."""
    return partial(_evaluate, preprocessing=preprocessing, wanted=wanted)


def _evaluate(
    picture: Image.Image, target: NDArray[np.uint8], *, preprocessing: Preprocessing, wanted: InputSpec
) -> Sample:
    image, geometry = preprocess(picture, preprocessing, wanted=wanted)
    in_input = torch.from_numpy(geometry.mask_to_input(target, outside=IGNORED))
    return Sample(torch.from_numpy(image), PixelClasses(in_input, torch.from_numpy(target)), geometry)


def train_mask_transform(preprocessing: Preprocessing, *, augment: MaskAugmentSettings) -> TrainTransform:
    """Return a random transform of a picture and its mask. It normalises as `eval_mask_transform` does."""
    return _Train(preprocessing, augment=augment)


@final
class _Train:
    """Scale and crop a picture and its mask at random, flip them, and change the colours of the picture."""

    def __init__(self, preprocessing: Preprocessing, *, augment: MaskAugmentSettings) -> None:
        self._preprocessing = preprocessing
        self._augment = augment
        self._resample = Image.Resampling[preprocessing.interpolation.upper()]
        steps = [
            v2.RandomHorizontalFlip(augment.flip) if augment.flip else None,
            v2.RandomVerticalFlip(augment.flip_vertical) if augment.flip_vertical else None,
            v2.RandomPhotometricDistort(p=augment.colour) if augment.colour else None,
        ]
        self._steps = [step for step in steps if step is not None]

    def __call__(
        self, picture: Image.Image, target: NDArray[np.uint8], *, size: tuple[int, int], share: float
    ) -> Sample:
        del share
        geometry = self._choose_crop(target, size)
        mask = tv_tensors.Mask(geometry.mask_to_input(target, outside=IGNORED))  # pyright: ignore[reportCallIssue]
        scene = {"picture": self._crop(picture, geometry), "mask": mask}
        # Flips and colours come last, because the crop is usually much smaller than the picture.
        for step in self._steps:
            scene = step(scene)
        image = torch.from_numpy(to_array(cast("Image.Image", scene["picture"]), self._preprocessing))
        in_input = cast("tv_tensors.Mask", scene["mask"]).as_subclass(Tensor)
        return Sample(image, PixelClasses(in_input))

    def _choose_crop(self, mask: NDArray[np.uint8], size: tuple[int, int]) -> Geometry:
        """Draw a scale, and then crops until one is not full of one class."""
        height, width = mask.shape
        scale = self._draw_scale((height, width), size)
        # The sides of the scaled picture are whole numbers.
        sides = tuple(max(1, round(scale[axis] * mask.shape[axis])) for axis in (0, 1))
        exact = (sides[0] / height, sides[1] / width)
        most = self._augment.most_of_a_class
        geometry = Geometry((height, width), size, exact, (0.0, 0.0))
        # If the whole picture fits into the crop, all crops show the same pixels.
        is_cut = any(side > wanted for side, wanted in zip(sides, size, strict=True))
        for _ in range(_TRIALS if is_cut else 1):
            offset = tuple(_draw(side - wanted) for side, wanted in zip(sides, size, strict=True))
            geometry = geometry._replace(offset=(float(offset[0]), float(offset[1])))
            if most >= 1 or largest_share(mask, geometry) <= most:
                break
        return geometry

    def _draw_scale(self, picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
        """Return by how much a picture is scaled, (along the height, along the width)."""
        low, high = self._augment.scale
        factor = low + (high - low) * float(torch.rand(()))
        ratios = (size[0] / picture[0], size[1] / picture[1])
        if self._augment.resize == "shorter_side":
            usual = (min(size) / min(picture),) * 2
        elif self._preprocessing.fit == "stretch":
            usual = ratios
        elif self._preprocessing.fit == "contain":
            usual = (min(ratios),) * 2
        else:
            # With `crop_pct`, evaluation resizes to more than the input, and cuts the input out of the middle.
            usual = (max(ratios) * self._preprocessing.resize_size[0] / self._preprocessing.size[0],) * 2
        scale = (factor * usual[0], factor * usual[1])
        lacking = 1.0 if self._augment.pad else max(1.0, ratios[0] / scale[0], ratios[1] / scale[1])
        return scale[0] * lacking, scale[1] * lacking

    def _crop(self, picture: Image.Image, geometry: Geometry) -> Image.Image:
        """Return the crop of the scaled picture. Only the part that it shows is resized."""
        spans = [_visible(geometry, axis) for axis in (0, 1)]
        (top, bottom), (left, right) = spans
        (first_row, last_row), (first_column, last_column) = (
            [
                min(max(0.0, (edge + geometry.offset[axis]) / geometry.scale[axis]), float(geometry.picture_size[axis]))
                for edge in span
            ]
            for axis, span in enumerate(spans)
        )
        box = (first_column, first_row, last_column, last_row)
        part = picture.resize((right - left, bottom - top), self._resample, box=box)
        height, width = geometry.input_size
        if part.size == (width, height):
            return part
        canvas = Image.new("RGB", (width, height), self._preprocessing.fill)
        canvas.paste(part, (left, top))
        return canvas


def largest_share(mask: NDArray[np.uint8], geometry: Geometry) -> float:
    """Return the share of the most frequent class among the pixels of a crop that have one; 1 if none has."""
    (height, width), (scale_y, scale_x), (offset_y, offset_x) = geometry.input_size, geometry.scale, geometry.offset
    coarse = Geometry(
        geometry.picture_size,
        (max(1, height // _STEP), max(1, width // _STEP)),
        (scale_y / _STEP, scale_x / _STEP),
        (offset_y / _STEP, offset_x / _STEP),
    )
    counts = np.bincount(coarse.mask_to_input(mask, outside=IGNORED).ravel(), minlength=IGNORED + 1)[:IGNORED]
    total = int(counts.sum())
    return int(counts.max()) / total if total else 1.0


def _visible(geometry: Geometry, axis: int) -> tuple[int, int]:
    """Return the first pixel of the input that shows the picture, and the one after the last."""
    offset, size = int(geometry.offset[axis]), geometry.input_size[axis]
    side = round(geometry.scale[axis] * geometry.picture_size[axis])
    return max(0, -offset), min(size, side - offset)


def _draw(slack: int) -> int:
    """Return a random number of pixels to cut off at the start; negative for padding."""
    return int(torch.randint(min(0, slack), max(0, slack) + 1, ()))
