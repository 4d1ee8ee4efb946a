"""How an image becomes a network's input: one description that training, checkpoints and bundles share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, cast, get_args

from parckit.contract.errors import InputError

Interpolation = Literal["nearest", "bilinear", "bicubic"]
ChannelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """The evaluation preprocessing of a model.

    An image is turned upright (EXIF), made RGB, resized with its aspect kept so that it just covers `resize_size`,
    cropped about the centre to `size`, put into `channel_order`, divided by 255, then normalised per channel with
    `mean` and `std` (both in `channel_order`).

    Attributes:
        size: (height, width) of the network's input, pixels.
        crop_pct: share of the resized image's side that the crop keeps, in (0, 1].
        interpolation: resampling filter of the resize, antialiased.
        mean: per channel, of values in 0..1.
        std: per channel, of values in 0..1.
        channel_order: `"bgr"` for the official ParC-Net checkpoints, which were trained on OpenCV's order.
    """

    size: tuple[int, int]
    crop_pct: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise InputError(f"size={self.size}: height and width must be at least 1 pixel")
        if not 0 < self.crop_pct <= 1:
            raise InputError(f"crop_pct={self.crop_pct}: must lie in (0, 1]")
        if min(self.std) <= 0:
            raise InputError(f"std={self.std}: must be positive")
        if self.interpolation not in get_args(Interpolation):
            raise InputError(f"interpolation={self.interpolation!r}: choose from {get_args(Interpolation)}")
        if self.channel_order not in get_args(ChannelOrder):
            raise InputError(f"channel_order={self.channel_order!r}: choose from {get_args(ChannelOrder)}")

    @property
    def resize_size(self) -> tuple[int, int]:
        """(height, width) that the resized image must just cover, pixels."""
        height, width = self.size
        return round(height / self.crop_pct), round(width / self.crop_pct)

    def to_dict(self) -> dict[str, object]:
        """Return a plain dict that JSON and `weights_only` checkpoints can hold."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Preprocessing":
        """Rebuild from `to_dict`'s form.

        Raises:
            InputError: for a missing, unknown or ill-valued key.
        """
        values = {
            key: tuple(cast("list[float]", value)) if isinstance(value, list) else value for key, value in data.items()
        }
        try:
            return cls(**values)  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            raise InputError(f"preprocessing {dict(data)}: {error}") from error
