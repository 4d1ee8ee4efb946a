"""The engine of D-Robotics' boards, such as RDK X5, for the `.bin` files of its compiler.

It was written after the documentation of pyeasy_dnn (github.com/D-Robotics/rdk_doc), and nobody has run it yet. From
version 3.5 of the system of RDK X5, the documentation names hbm_runtime instead.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hobot_dnn import pyeasy_dnn  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.bpu import bpu_input, bpu_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

_NAME = "hobot_dnn"


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

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        answers = network.forward(bpu_input(images[0], spec.preprocessing))
        pairs = zip(answers, artefact.outputs, strict=True)
        return [bpu_output(np.array(answer.buffer), output.shape) for answer, output in pairs]

    return ArtefactSession(artefact, spec, engine=_NAME, run=run)
