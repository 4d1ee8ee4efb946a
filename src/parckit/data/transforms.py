"""Transforms from a picture and its target to a network's input, for evaluation and for training.

All steps but the last work on Pillow images: on small images Pillow is faster than tensor operations, and its resize is
antialiased. `parckit.processing` does the last step of training and all steps of evaluation.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal, cast, final, get_args

import torch
from PIL import Image
from timm.data import rand_augment_transform
from torch import Tensor, nn
from torchvision.transforms import v2

from parckit.contract import InputError, InputSpec, Preprocessing
from parckit.data.datasets import Sample, Target, TrainTransform, Transform
from parckit.processing import FLOAT_NCHW, cover, fit, preprocess, to_array

Crop = Literal["random_resized", "pad", "none"]
CropInterpolation = Literal["nearest", "bilinear", "bicubic", "random"]

_POLICIES = ("none", "trivial")
_RAND_AUGMENT = re.compile(r"rand(-(m|n|mmax|inc)\d+|-(p|mstd)\d*\.?\d+|-t(weights|3aw?))*")
"""timm's syntax for RandAugment. We check it because timm ignores parts that it does not know."""
_ERASED = (0.02, 1 / 3)
"""Smallest and largest share of the image's area that random erasing fills."""
_ERASED_ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest aspect ratio of the erased rectangle."""

_Change = nn.Module | Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class AugmentSettings:
    """Changes of an image in training, in addition to the evaluation preprocessing. The defaults are usual on ImageNet.

    Attributes:
        crop: `"random_resized"` takes a random area at a random aspect (3:4 to 4:3) and resizes it to the input's size;
            `"pad"` resizes the image so that it covers the input's size, pads it with black and crops at random;
            `"none"` fits the image to the input's size as evaluation does, in the way that `Preprocessing.fit` says.
        scale: smallest and largest share of the area that a random resized crop takes, in (0, 1].
        padding: black pixels added on each side before a padded crop, at the recipe's image size; at other training
            sizes their number is scaled in proportion.
        flip: probability of a left-right flip.
        rotate: largest rotation in both directions, degrees.
        translate: largest shift in all four directions, as a share of the image's width or height.
        policy: further random colour and geometry changes: `"trivial"` for TrivialAugment (arXiv:2103.10158, wide), or
            RandAugment (arXiv:1909.13719) in timm's syntax. For example, `"rand-m9-mstd0.5-inc1"` means magnitude 9
            with a standard deviation of 0.5, and operations that all get stronger as the magnitude grows. timm applies
            two operations per image unless the policy says otherwise.
        interpolation: resampling of a random resized crop and of RandAugment; `"random"` draws bilinear or bicubic for
            each image, None takes the interpolation of evaluation.
        erasing: probability that a random rectangle (2 to 33 % of the area) is filled with normal noise
            (arXiv:1708.04896), as timm's pixel mode does.
        until: share of the run after which `policy` and `erasing` are off, so that training ends on images like those
            of evaluation (arXiv:1909.09148).
    """

    crop: Crop = "random_resized"
    scale: tuple[float, float] = (0.08, 1.0)
    padding: int = 4
    flip: float = 0.5
    rotate: float = 0.0
    translate: float = 0.0
    policy: str = "none"
    interpolation: CropInterpolation | None = None
    erasing: float = 0.0
    until: float = 1.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise InputError(f"crop={self.crop!r}: choose from {get_args(Crop)}")
        if self.policy not in _POLICIES and not _RAND_AUGMENT.fullmatch(self.policy):
            accepted = f"{_POLICIES} or RandAugment in timm's syntax, such as 'rand-m9-mstd0.5-inc1'"
            raise InputError(f"policy={self.policy!r}: choose from {accepted}")
        if self.interpolation not in (None, *get_args(CropInterpolation)):
            raise InputError(f"interpolation={self.interpolation!r}: choose from {get_args(CropInterpolation)}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale={self.scale}: must be two shares in (0, 1], the smaller one first")
        if self.padding < 0:
            raise InputError(f"padding={self.padding}: must be 0 pixels or more")
        if not 0 <= self.rotate <= 180:
            raise InputError(f"rotate={self.rotate}: must lie in 0..180 degrees")
        for name in ("flip", "translate", "erasing", "until"):
            if not 0 <= (value := cast("float", getattr(self, name))) <= 1:
                raise InputError(f"{name}={value}: must lie in 0..1")


def eval_transform(preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW) -> Transform:
    """Return the evaluation preprocessing for a network's input. It does not change the target.

    Shape:
        (3, H, W) float32, or as `wanted` says
    """
    return partial(_evaluate, preprocessing=preprocessing, wanted=wanted)


def _evaluate(picture: Image.Image, target: Target, *, preprocessing: Preprocessing, wanted: InputSpec) -> Sample:
    image, geometry = preprocess(picture, preprocessing, wanted=wanted)
    return Sample(torch.from_numpy(image), target, geometry)


def train_transform(preprocessing: Preprocessing, *, augment: AugmentSettings) -> TrainTransform:
    """Return a random transform for classes and labels, which stay. It normalises as `eval_transform` does."""
    return _Train(preprocessing, augment=augment)


@final
class _Train:
    """Crop a picture to the wanted size and change it at random. After `until`, `policy` and `erasing` are off."""

    def __init__(self, preprocessing: Preprocessing, *, augment: AugmentSettings) -> None:
        self._preprocessing = preprocessing
        self._augment = augment
        weaker = replace(augment, policy="none", erasing=0.0)
        self._rest, self._rest_at_end = (
            v2.Compose(
                [
                    *_changes(preprocessing, augment=strength),
                    partial(_to_tensor, preprocessing=preprocessing),
                    *_erasing(strength),
                ]
            )
            for strength in (augment, weaker)
        )

    def __call__(self, picture: Image.Image, target: Target, *, size: tuple[int, int], share: float) -> Sample:
        crop = _crop(size, preprocessing=self._preprocessing, augment=self._augment)
        rest = self._rest if share < self._augment.until else self._rest_at_end
        return Sample(cast("Tensor", rest(crop(picture))), target)


def _changes(preprocessing: Preprocessing, *, augment: AugmentSettings) -> list[_Change]:
    """Return the random changes that follow the crop and work on Pillow images."""
    steps: list[_Change] = []
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip(augment.flip))
    if augment.policy == "trivial":
        steps.append(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR))
    elif augment.policy != "none":
        steps.append(_rand_augment(preprocessing, augment=augment))
    if augment.rotate or augment.translate:
        shift = (augment.translate, augment.translate)
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(augment.rotate, translate=shift, interpolation=bilinear))  # pyright: ignore[reportArgumentType]
    return steps


def _rand_augment(preprocessing: Preprocessing, *, augment: AugmentSettings) -> _Change:
    """Return timm's RandAugment. It fills new pixels with the mean colour; it uses numpy's and Python's generators."""
    # It changes RGB pictures. Those of a grey network become grey afterwards.
    mean = {"rgb": preprocessing.mean, "bgr": preprocessing.mean[::-1], "grey": preprocessing.mean * 3}
    fill = tuple(min(255, round(255 * level)) for level in mean[preprocessing.channel_order])
    options: dict[str, object] = {"img_mean": fill}
    interpolation = augment.interpolation or preprocessing.interpolation
    if interpolation != "random":
        options["interpolation"] = Image.Resampling[interpolation.upper()]
    policy = rand_augment_transform(augment.policy, options)
    for operation in policy.ops:
        if operation.name.startswith("Posterize"):
            bits_at = cast("Callable[..., tuple[int]]", operation.level_fn)
            operation.level_fn = partial(_keep_a_bit, bits_at=bits_at)
    return policy


def _keep_a_bit(level: float, options: dict[str, object], *, bits_at: Callable[..., tuple[int]]) -> tuple[int]:
    """Return how many bits of every channel to keep: at least 1. timm asks for 0 at full strength; Pillow refuses 0."""
    (bits,) = bits_at(level, options)
    return (max(1, bits),)


def _erasing(augment: AugmentSettings) -> list[nn.Module]:
    erasing = v2.RandomErasing(augment.erasing, scale=_ERASED, ratio=_ERASED_ASPECT, value="random")  # pyright: ignore[reportArgumentType]
    return [erasing] if augment.erasing else []


@cache
def _crop(
    size: tuple[int, int], *, preprocessing: Preprocessing, augment: AugmentSettings
) -> Callable[[Image.Image], Image.Image]:
    """Return a function that brings a picture to `size` in the way that `augment.crop` says."""
    if augment.crop == "random_resized":
        interpolation = augment.interpolation or preprocessing.interpolation
        names = ("bilinear", "bicubic") if interpolation == "random" else (interpolation,)
        modes = [v2.InterpolationMode(name) for name in names]
        crops = [v2.RandomResizedCrop(size, scale=augment.scale, interpolation=mode) for mode in modes]
        return v2.RandomChoice(crops) if len(crops) > 1 else crops[0]
    if augment.crop == "pad":
        scale = size[0] / preprocessing.size[0]
        padding = round(augment.padding * scale)
        resize = partial(cover, size=size, resample=Image.Resampling[preprocessing.interpolation.upper()])
        return v2.Compose([resize, v2.RandomCrop(size, padding=padding)])
    return partial(_fit, preprocessing=preprocessing.with_size(size))


def _fit(picture: Image.Image, *, preprocessing: Preprocessing) -> Image.Image:
    return fit(picture, preprocessing)[0]


def _to_tensor(picture: Image.Image, *, preprocessing: Preprocessing) -> Tensor:
    return torch.from_numpy(to_array(picture, preprocessing))
