"""The engine of RDK X5 from version 3.5 of its system, for the `.bin` files of D-Robotics' compiler.

It was written after the documentation of hbm_runtime (github.com/D-Robotics/rdk_doc), and nobody has run it yet.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hbm_runtime import HB_HBMRuntime  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.bpu import bpu_input, bpu_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

_NAME = "hbm_runtime"


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
        network = HB_HBMRuntime(str(path))
    except Exception as error:  # it raises errors of several classes
        raise cannot_load(path, engine=_NAME, reason=error) from error
    name = network.model_names[0]
    outputs = network.output_names[name]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        answers = network.run(bpu_input(images[0], spec.preprocessing))[name]
        pairs = zip(outputs, artefact.outputs, strict=True)
        return [bpu_output(np.array(answers[key]), output.shape) for key, output in pairs]

    return ArtefactSession(artefact, spec, engine=_NAME, run=run)
