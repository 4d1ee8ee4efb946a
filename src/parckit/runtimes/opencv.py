"""The dnn module of OpenCV, on the CPU. It opens ONNX files.

OpenCV has one number of threads for all that it does in a process. Its classic engine runs the graphs. The new one of
5.0.0 gave numbers of 1e18 and more for DeepLabv3 and UPerNet from the second image on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2  # pyright: ignore[reportMissingImports]
import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load, in_shape


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"opencv {cv2.__version__}"
    if threads is not None:
        cv2.setNumThreads(threads)
    try:
        network = cv2.dnn.readNetFromONNX(str(path), engine=cv2.dnn.ENGINE_CLASSIC)
    except cv2.error as error:
        raise cannot_load(path, engine=engine, reason=error) from error
    names = [output.name for output in artefact.outputs]
    shapes = [output.shape for output in artefact.outputs]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        network.setInput(np.ascontiguousarray(images))
        outputs = cast("Sequence[npt.NDArray[np.generic]]", network.forward(names))
        return [in_shape(output, shape).copy() for output, shape in zip(outputs, shapes, strict=True)]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
