"""From an RGB image to a network's input, for evaluation and for training.

Everything works on PIL images until the last step: on small images Pillow's operations are faster than the tensor ones,
and its resize is antialiased.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from parckit.contract import InputError, Preprocessing
from parckit.data.datasets import Transform

Crop = Literal["random_resized", "pad", "none"]
Policy = Literal["none", "trivial", "rand"]


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class Augment:
    """What training does to an image beside the evaluation preprocessing; the defaults are ImageNet's usual ones.

    Attributes:
        crop: `"random_resized"` takes a random area at a random aspect (3:4 to 4:3) and resizes it to the input's size;
            `"pad"` resizes the image to cover the size, pads it with black and crops at random; `"none"` resizes and
            crops as evaluation does.
        scale: smallest and largest share of the area that a random resized crop takes, in (0, 1].
        padding: black pixels added on each side before a padded crop.
        flip: probability of a left-right flip.
        rotate: largest rotation either way, degrees.
        translate: largest shift either way along both axes, as a share of the side.
        policy: further random colour and geometry changes: TrivialAugment (arXiv:2103.10158, wide) or RandAugment
            (arXiv:1909.13719, two operations of magnitude 9).
        erasing: probability that a random rectangle (2 to 33 % of the area) is set to the mean colour.
    """

    crop: Crop = "random_resized"
    scale: tuple[float, float] = (0.08, 1.0)
    padding: int = 4
    flip: float = 0.5
    rotate: float = 0.0
    translate: float = 0.0
    policy: Policy = "none"
    erasing: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise InputError(f"crop={self.crop!r}: choose from {get_args(Crop)}")
        if self.policy not in get_args(Policy):
            raise InputError(f"policy={self.policy!r}: choose from {get_args(Policy)}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale={self.scale}: must be two rising shares in (0, 1]")
        if self.padding < 0:
            raise InputError(f"padding={self.padding}: must be 0 pixels or more")
        if not 0 <= self.rotate <= 180:
            raise InputError(f"rotate={self.rotate}: must lie in 0..180 degrees")
        for name, value in (("flip", self.flip), ("translate", self.translate), ("erasing", self.erasing)):
            if not 0 <= value <= 1:
                raise InputError(f"{name}={value}: must lie in 0..1")


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """Make the evaluation preprocessing, as `Preprocessing` describes it: (3, H, W) float32.

    The resized image's longer side is rounded down and the crop's corner to the nearest pixel (halves to even), as in
    torchvision.
    """
    return v2.Compose([*_fit(preprocessing), partial(_to_input, preprocessing=preprocessing)])


def train_transform(preprocessing: Preprocessing, *, augment: Augment) -> Transform:
    """Make a random training transform that ends as `eval_transform` does: (3, H, W) float32."""
    steps: list[Transform | nn.Module | partial[Image.Image]] = [*_crop(preprocessing, augment=augment)]
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip(augment.flip))
    bilinear = v2.InterpolationMode.BILINEAR
    if augment.policy == "trivial":
        steps.append(v2.TrivialAugmentWide(interpolation=bilinear))
    elif augment.policy == "rand":
        steps.append(v2.RandAugment(interpolation=bilinear))
    if augment.rotate or augment.translate:
        shift = (augment.translate, augment.translate)
        steps.append(v2.RandomAffine(augment.rotate, translate=shift, interpolation=bilinear))  # pyright: ignore[reportArgumentType]
    steps.append(partial(_to_input, preprocessing=preprocessing))
    if augment.erasing:
        steps.append(v2.RandomErasing(augment.erasing))
    return v2.Compose(steps)


def _crop(preprocessing: Preprocessing, *, augment: Augment) -> list[nn.Module | partial[Image.Image]]:
    if augment.crop == "random_resized":
        interpolation = v2.InterpolationMode(preprocessing.interpolation)
        return [v2.RandomResizedCrop(preprocessing.size, scale=augment.scale, interpolation=interpolation)]
    if augment.crop == "pad":
        return [
            _covering(preprocessing.size, preprocessing=preprocessing),
            v2.RandomCrop(preprocessing.size, padding=augment.padding),
        ]
    return _fit(preprocessing)


def _fit(preprocessing: Preprocessing) -> list[nn.Module | partial[Image.Image]]:
    return [_covering(preprocessing.resize_size, preprocessing=preprocessing), v2.CenterCrop(preprocessing.size)]


def _covering(size: tuple[int, int], *, preprocessing: Preprocessing) -> partial[Image.Image]:
    return partial(_cover, size=size, resample=Image.Resampling[preprocessing.interpolation.upper()])


def _cover(image: Image.Image, *, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """Resize with the aspect kept so that `size` (height, width) is just covered."""
    height, width = size
    if height * image.width >= width * image.height:
        covering = (height * image.width // image.height, height)
    else:
        covering = (width, width * image.height // image.width)
    return image if covering == image.size else image.resize(covering, resample)


def _to_input(image: Image.Image, *, preprocessing: Preprocessing) -> Tensor:
    """Order the channels, divide by 255 and normalise."""
    pixels = F.pil_to_tensor(image)
    if preprocessing.channel_order == "bgr":
        pixels = pixels.flip(0)
    scaled = F.to_dtype(pixels, torch.float32, scale=True)
    return F.normalize(scaled, mean=list(preprocessing.mean), std=list(preprocessing.std))
