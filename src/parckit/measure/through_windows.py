"""How the options of an evaluation become windows, and how whole pictures are loaded for them."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, InputSpec, Preprocessing
from parckit.data import PixelClasses, Sample, Transform
from parckit.options import parse_size
from parckit.processing import TileSettings, WindowSettings, whole_picture

INPUT_SIZE = "input"
"""What stands for tiles as large as the network's input."""


def window_settings(
    *,
    tiles: str | None,
    tile_overlap: float | None,
    shorter_side: int | None,
    scales: tuple[float, ...] | None,
    flip: bool,
) -> WindowSettings | None:
    """Return the windows that the fields of `EvaluationData` ask for; None if they ask for none.

    Raises:
        InputError: if a value is out of range, or there are others without `tiles`.
    """
    if tiles is None:
        for name, value in {
            "tile_overlap": tile_overlap,
            "shorter_side": shorter_side,
            "scales": scales,
            "flip": flip or None,
        }.items():
            if value is not None:
                raise InputError(f"--data.{name} {value}: needs --data.tiles, such as --data.tiles {INPUT_SIZE}")
        return None
    size = None if tiles == INPUT_SIZE else parse_size(tiles, option="--data.tiles")
    return WindowSettings(
        tiles=TileSettings(size=size, overlap=tile_overlap),
        shorter_side=shorter_side,
        scales=(1.0,) if scales is None else tuple(scales),
        flip=flip,
    )


def whole_mask_transform(settings: WindowSettings, preprocessing: Preprocessing, *, wanted: InputSpec) -> Transform:
    """Return a transform that keeps a picture and its mask at their own size, for a `WindowSession`."""
    return partial(_keep, settings=settings, preprocessing=preprocessing, wanted=wanted)


def _keep(
    picture: Image.Image,
    target: NDArray[np.uint8],
    *,
    settings: WindowSettings,
    preprocessing: Preprocessing,
    wanted: InputSpec,
) -> Sample:
    try:
        settings.views((picture.height, picture.width))
    except InputError as error:
        # To errors of other types, the data set adds the name of the picture.
        raise ValueError(str(error)) from error
    image, geometry = whole_picture(picture, preprocessing, wanted=wanted)
    classes = torch.from_numpy(target)
    return Sample(torch.from_numpy(image), PixelClasses(classes, classes), geometry)
