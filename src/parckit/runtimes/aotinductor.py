"""The AOTInductor engine: machine code that torch made of a network. It uses torch's number of threads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch._inductor import aoti_load_package

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load
from parckit.runtimes.torch import torch_threads


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"aotinductor {torch.__version__}"
    try:
        network = aoti_load_package(str(path))
    except (RuntimeError, OSError) as error:
        raise cannot_load(path, engine=engine, reason=error) from error

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        with torch_threads(threads), torch.inference_mode():
            outputs = network(batch)
        return [output.numpy() for output in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
