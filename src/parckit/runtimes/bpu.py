"""What both engines of D-Robotics' boards share: pictures as the NPU takes them, outputs as the network gives them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, Preprocessing
from parckit.processing import rgb_to_nv12
from parckit.runtimes.session import in_shape

_COLOURS = 3


def bpu_input(pixels: npt.NDArray[np.generic], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Return NV12 bytes of a picture in colour, in the full range, and the pixels of a grey one.

    Shape:
        (H, W, C) -> (3 H W / 2,), or (H W,) for grey
    """
    levels = pixels.astype(np.uint8)
    if levels.shape[2] != _COLOURS:
        return levels.ravel()
    return rgb_to_nv12(levels[..., ::-1] if preprocessing.channel_order == "bgr" else levels).ravel()


def bpu_output(values: npt.NDArray[np.generic], shape: Sequence[int | None]) -> npt.NDArray[np.generic]:
    """Return an output in the shape that an artefact describes. The NPU may put channels last, or add sizes of 1.

    Raises:
        InputError: if the network was compiled so that its outputs are whole numbers.
    """
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"an output is {values.dtype}: compile the network without removing its Dequantize nodes")
    wanted = tuple(shape)
    if values.ndim == len(wanted) == 4 and values.shape != wanted and values.transpose(0, 3, 1, 2).shape == wanted:
        return values.transpose(0, 3, 1, 2)
    return in_shape(values, wanted)
