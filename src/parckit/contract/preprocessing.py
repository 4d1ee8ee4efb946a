"""How a picture becomes a network's input: one description that training, checkpoints, bundles and boards share."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from parckit.contract.errors import InputError

Fit = Literal["cover", "stretch", "contain"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
ChannelOrder = Literal["rgb", "bgr", "grey"]

LONGEST_SIDE = 65_535
"""Most pixels of a side of a network's input. No JPEG has a longer side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """The preprocessing of a network's input in evaluation.

    A picture is turned upright (EXIF) and converted to RGB. Then it is fitted to `size`, put into `channel_order`,
    divided by 255, and normalised per channel with `mean` and `std` (both in `channel_order`).

    Attributes:
        size: (height, width) of the network's input, pixels.
        fit: how the picture is fitted to `size`.
            `"cover"`: resized with its aspect ratio kept so that it just covers `resize_size`, then cropped at the
            centre.
            `"stretch"`: resized to `size`; the aspect ratio changes.
            `"contain"`: resized with its aspect ratio kept so that it just fits into `size`; the rest is filled with
            `fill`, equally on both sides.
        crop_pct: only for `"cover"`: share of the resized picture's side that the crop keeps, in (0, 1].
        fill: RGB colour of the padding, 0 to 255: of `"contain"`, and of random changes when a detector is trained.
            Grey 114 is what YOLO's letterbox uses.
        interpolation: resampling filter of the resize, antialiased.
        mean: per channel, of values between 0 and 1.
        std: per channel, of values between 0 and 1.
        channel_order: `"bgr"` for the official ParC-Net checkpoints, which were trained on OpenCV's order. `"grey"` for
            networks with one input channel (`in_chans: 1`): the fitted picture is converted to grey, as Pillow does it
            (299 R + 587 G + 114 B, divided by 1000).

    Raises:
        InputError: if a value is outside its range.
    """

    size: tuple[int, int]
    fit: Fit = "cover"
    crop_pct: float = 1.0
    fill: tuple[int, int, int] = (114, 114, 114)
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        if not 1 <= min(self.size) <= max(self.size) <= LONGEST_SIDE:
            raise InputError(f"size={self.size}: height and width must be from 1 to {LONGEST_SIDE} pixels")
        if not 0 < self.crop_pct <= 1:
            raise InputError(f"crop_pct={self.crop_pct}: must lie in (0, 1]")
        if self.crop_pct != 1 and self.fit != "cover":
            raise InputError(f"crop_pct={self.crop_pct}: only fit='cover' crops; fit={self.fit!r} needs crop_pct=1")
        if not all(0 < deviation < math.inf for deviation in self.std):
            raise InputError(f"std={self.std}: must be positive and finite")
        if not all(math.isfinite(level) for level in self.mean):
            raise InputError(f"mean={self.mean}: must be finite")
        if not all(0 <= level <= 255 for level in self.fill):
            raise InputError(f"fill={self.fill}: must be three levels from 0 to 255")
        for name, value, accepted in (
            ("fit", self.fit, get_args(Fit)),
            ("interpolation", self.interpolation, get_args(Interpolation)),
            ("channel_order", self.channel_order, get_args(ChannelOrder)),
        ):
            if value not in accepted:
                raise InputError(f"{name}={value!r}: choose from {accepted}")
        self._check_channels()

    def _check_channels(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                needed = f"channel_order={self.channel_order!r} needs {self.channels}"
                raise InputError(f"{name}={values}: has {len(values)} values, but {needed}")

    @property
    def channels(self) -> int:
        """Number of channels of the network's input."""
        return 1 if self.channel_order == "grey" else 3

    @property
    def resize_size(self) -> tuple[int, int]:
        """(height, width) that the resized picture must just cover or fit into, pixels."""
        height, width = self.size
        return round(height / self.crop_pct), round(width / self.crop_pct)

    def as_grey(self) -> "Preprocessing":
        """Return the same preprocessing for grey images, with the average of the channels' means and deviations."""
        mean, std = ((sum(values) / len(values),) for values in (self.mean, self.std))
        return replace(self, mean=mean, std=std, channel_order="grey")

    def with_size(self, size: tuple[int, int]) -> "Preprocessing":
        """Return the same preprocessing for another (height, width), pixels."""
        return replace(self, size=size)
