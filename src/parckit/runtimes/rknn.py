"""The engine of Rockchip's boards, such as those with RK3588, for the `.rknn` files of RKNN-Toolkit2.

It was written after the examples of rknn-toolkit-lite2 (github.com/airockchip/rknn-toolkit2), and nobody has run it
yet.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rknnlite.api import RKNNLite  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load, in_shape

_NAME = "rknn"


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked. Threads of the CPU do not matter.

    Raises:
        InputError: if the engine cannot load it.
    """
    del threads
    path, network = folder / artefact.main_file, RKNNLite()
    if (code := network.load_rknn(str(path))) != 0:
        raise cannot_load(path, engine=_NAME, reason=f"load_rknn returned {code}")
    if (code := network.init_runtime()) != 0:
        raise cannot_load(path, engine=_NAME, reason=f"init_runtime returned {code}; the board's driver may be too old")

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        answers = network.inference(inputs=[np.ascontiguousarray(images)])
        return [
            in_shape(np.asarray(answer), output.shape) for answer, output in zip(answers, artefact.outputs, strict=True)
        ]

    return ArtefactSession(artefact, spec, engine=_NAME, run=run)
