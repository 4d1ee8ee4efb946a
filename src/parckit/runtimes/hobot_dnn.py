"""The engine of D-Robotics' boards, such as RDK X5, for the `.bin` files of its compiler.

It was written after the documentation of pyeasy_dnn (github.com/D-Robotics/rdk_doc), and nobody has run it yet.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hobot_dnn import pyeasy_dnn  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, InputError, NetworkSpec
from parckit.processing import rgb_to_nv12
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load, in_shape

_NAME = "hobot_dnn"
_COLOURS = 3


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked. Threads of the CPU do not matter.

    Raises:
        InputError: if the engine cannot load it.
    """
    del threads
    path = folder / artefact.main_file
    try:
        network = pyeasy_dnn.load(str(path))[0]
    except Exception as error:  # it raises errors of several classes
        raise cannot_load(path, engine=_NAME, reason=error) from error
    is_bgr = spec.preprocessing.channel_order == "bgr"

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        answers = network.forward(_as_board_takes_it(images[0], is_bgr=is_bgr))
        return [
            _in_network_layout(answer, output.shape) for answer, output in zip(answers, artefact.outputs, strict=True)
        ]

    return ArtefactSession(artefact, spec, engine=_NAME, run=run)


def _as_board_takes_it(pixels: npt.NDArray[np.generic], *, is_bgr: bool) -> npt.NDArray[np.uint8]:
    """Return NV12 bytes of a picture in colour, and the pixels of a grey one.

    Shape:
        (H, W, C) -> (3 H W / 2,) or (H W,)
    """
    levels = pixels.astype(np.uint8)
    if levels.shape[2] != _COLOURS:
        return levels.ravel()
    return rgb_to_nv12(levels[..., ::-1] if is_bgr else levels).ravel()


def _in_network_layout(answer: object, shape: Sequence[int | None]) -> npt.NDArray[np.generic]:
    """Return an output as the ONNX graph gives it.

    Raises:
        InputError: if the network was compiled so that its outputs are whole numbers.
    """
    # Both attributes are those that the documentation names.
    values = np.asarray(answer.buffer)  # pyright: ignore[reportAttributeAccessIssue]
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"an output is {values.dtype}: compile the network without removing its Dequantize nodes")
    layout = str(answer.properties.layout)  # pyright: ignore[reportAttributeAccessIssue]
    if values.ndim == len(shape) == 4 and "NHWC" in layout and values.shape != tuple(shape):
        values = values.transpose(0, 3, 1, 2)
    return in_shape(values, shape)
