"""Transforms from a picture and its objects to a network's input, for evaluation and for training of detectors."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast, final, get_args

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from parckit.contract import InputError, InputSpec, Preprocessing
from parckit.data.datasets import Sample, TrainTransform, Transform
from parckit.data.objects import Objects, Scene
from parckit.processing import FLOAT_NCHW, Geometry, fit, preprocess, to_array

SceneCrop = Literal["iou", "none"]

_SMALLEST_CROPPED = 4
"""Least side of a picture that is cropped, pixels: 0.3 of it is a whole pixel."""
_ZOOMED_SIDE = 4
"""A picture is shrunk before a zoom out if its shorter side is more than this many times the input's longer side. The
canvas of a zoom out may have 16 times the pixels of the picture. A crop keeps at least 0.3 of a side, so it still has
more pixels than the input."""
_LARGEST_SCALE = 4.0
"""The largest factor of `scale`; at 4, a picture has 16 times the pixels of the input before it is cropped."""
_SMALLEST_BOX = 1.0
"""Least width and height, in pixels of the input, of a box to train on. Smaller ones are left out."""


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class SceneAugmentSettings:
    """Changes of a picture and its objects in training. The defaults are those of SSD (arXiv:1512.02325, section 2.2).

    Attributes:
        crop: `"iou"` crops the picture so that an object keeps a random share of its overlap, as SSD does; `"none"`
            takes the whole picture.
        scale: large-scale jitter (arXiv:2012.07177, section 3): the picture is made larger by a random factor between
            these two, and then cropped or padded at random to the input's size. `[1.0, 1.0]` changes nothing; the paper
            has `[0.1, 2.0]`, with `crop: none`.
        zoom_out: probability that the picture is put on a larger canvas, up to four times as wide, before the crop.
        colour: probability of each change of brightness, contrast, saturation, hue and of the order of the channels.
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip.
    """

    crop: SceneCrop = "iou"
    scale: tuple[float, float] = (1.0, 1.0)
    zoom_out: float = 0.0
    colour: float = 0.5
    flip: float = 0.5
    flip_vertical: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(SceneCrop):
            raise InputError(f"crop={self.crop!r}: choose from {get_args(SceneCrop)}")
        low, high = self.scale
        if not 0 < low <= high <= _LARGEST_SCALE:
            raise InputError(
                f"scale={list(self.scale)}: must be two ascending factors, from above 0 to {_LARGEST_SCALE}"
            )
        for name in ("zoom_out", "colour", "flip", "flip_vertical"):
            if not 0 <= (value := cast("float", getattr(self, name))) <= 1:
                raise InputError(f"{name}={value}: must lie in 0..1")


def eval_scene_transform(preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW) -> Transform:
    """Return the evaluation preprocessing of a picture and its objects for a network's input."""
    return partial(_evaluate, preprocessing=preprocessing, wanted=wanted)


def _evaluate(picture: Image.Image, target: Objects, *, preprocessing: Preprocessing, wanted: InputSpec) -> Sample:
    image, geometry = preprocess(picture, preprocessing, wanted=wanted)
    # The loss of networks with masks needs them in training only; here they would cost time for nothing.
    scene = Scene(objects=move_to_input(target._replace(masks=None), geometry), in_picture=target)
    return Sample(torch.from_numpy(image), scene, geometry)


def move_to_input(objects: Objects, geometry: Geometry) -> Objects:
    """Return objects in pixels of the input. What lies outside is cut off, and boxes that become empty are left out."""
    height, width = geometry.input_size
    boxes = torch.from_numpy(geometry.boxes_to_input(objects.boxes.numpy()))
    boxes = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], dim=2).flatten(1)
    stays = ((boxes[:, 2:] - boxes[:, :2]) >= _SMALLEST_BOX).all(dim=1)
    masks = objects.masks
    if masks is not None:
        masks = torch.from_numpy(geometry.mask_to_input(masks[stays].numpy(), outside=False))
    return Objects(boxes[stays], objects.labels[stays], objects.crowd[stays], masks)


def train_scene_transform(preprocessing: Preprocessing, *, augment: SceneAugmentSettings) -> TrainTransform:
    """Return a random transform of a picture and its objects. It normalises as `eval_scene_transform` does."""
    return _Train(preprocessing, augment=augment)


@final
class _Train:
    """Change a picture and its objects at random, then fit the picture to the wanted size as evaluation does."""

    def __init__(self, preprocessing: Preprocessing, *, augment: SceneAugmentSettings) -> None:
        self._preprocessing = preprocessing
        self._scale = augment.scale
        fills = {Image.Image: preprocessing.fill, tv_tensors.Mask: 0}
        self._zoom_out = v2.RandomZoomOut(fill=fills, p=augment.zoom_out) if augment.zoom_out else None  # pyright: ignore[reportArgumentType]
        self._crop = v2.RandomIoUCrop() if augment.crop == "iou" else None
        self._colour = v2.RandomPhotometricDistort(p=augment.colour) if augment.colour else None
        self._flips = [
            flip
            for flip, share in (
                (v2.RandomHorizontalFlip(augment.flip), augment.flip),
                (v2.RandomVerticalFlip(augment.flip_vertical), augment.flip_vertical),
            )
            if share
        ]
        self._clean = v2.SanitizeBoundingBoxes(min_size=_SMALLEST_BOX, labels_getter=_rows)

    def __call__(self, picture: Image.Image, target: Objects, *, size: tuple[int, int], share: float) -> Sample:
        del share
        scene: dict[str, Any] = {
            "picture": picture,
            "boxes": tv_tensors.BoundingBoxes(target.boxes, format="XYXY", canvas_size=(picture.height, picture.width)),  # pyright: ignore[reportCallIssue]
            "labels": target.labels,
            "crowd": target.crowd,
        }
        if target.masks is not None:
            scene["masks"] = tv_tensors.Mask(target.masks)  # pyright: ignore[reportCallIssue]
        # SSD's crop looks for an object to keep; without objects it would look in vain. It takes 0.3 of a side or more,
        # which would be no pixel of a very small picture.
        may_crop = bool((~target.crowd).any()) and min(picture.size) >= _SMALLEST_CROPPED
        longest = _ZOOMED_SIDE * max(size)
        shrink = v2.Resize(longest) if self._zoom_out is not None and min(picture.size) > longest else None
        for step in (shrink, self._zoom_out, self._crop if may_crop else None, *self._flips):
            if step is not None:
                scene = step(scene)
        scene = self._clean(scene)
        fitted, geometry = self._fit(scene["picture"], size)
        # Colours change last, because the fitted picture is usually much smaller.
        if self._colour is not None:
            fitted = self._colour(fitted)
        masks = scene["masks"].as_subclass(Tensor) if "masks" in scene else None
        objects = Objects(scene["boxes"].as_subclass(Tensor), scene["labels"], scene["crowd"], masks)
        image = torch.from_numpy(to_array(fitted, self._preprocessing))
        return Sample(image, Scene(objects=move_to_input(objects, geometry)))

    def _fit(self, picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, Geometry]:
        """Fit a picture to a size as evaluation does, larger or smaller by a random factor if that is wanted."""
        low, high = self._scale
        if low == high == 1:
            return fit(picture, self._preprocessing.with_size(size))
        factor = low + (high - low) * float(torch.rand(()))
        height, width = (max(1, round(factor * side)) for side in size)
        fitted, geometry = fit(picture, self._preprocessing.with_size((height, width)))
        # Pixels cut off at the top and on the left; negative for padding.
        cut = [
            int(torch.randint(min(0, before - after), max(0, before - after) + 1, ()))
            for before, after in zip((height, width), size, strict=True)
        ]
        canvas = Image.new("RGB", (size[1], size[0]), self._preprocessing.fill)
        canvas.paste(fitted, (-cut[1], -cut[0]))
        offset = (geometry.offset[0] + cut[0], geometry.offset[1] + cut[1])
        return canvas, geometry._replace(input_size=size, offset=offset)


def _rows(scene: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return what has a row for every box, and loses that row with the box."""
    return scene["labels"], scene["crowd"]
