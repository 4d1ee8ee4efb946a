"""The ExecuTorch engine, on the CPU with XNNPACK. Its Python package takes and gives torch's tensors.

ExecuTorch has one number of threads for all that it does in a process.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
import torch

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.native_output import capturing_native_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

with capturing_native_output():
    from executorch.extension.pybindings import portable_lib  # pyright: ignore[reportMissingImports]
    from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"executorch {version('executorch')}"
    if threads is not None:
        portable_lib._unsafe_reset_threadpool(threads)
    try:
        # It warns that its interface may change.
        with capturing_native_output(), catch_warnings():
            simplefilter("ignore")
            program = Runtime.get().load_program(path)
            # The method reads the program's memory, so both are kept.
            loaded = (program, program.load_method("forward"))
    except RuntimeError as error:
        raise cannot_load(path, engine=engine, reason=error) from error

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        _, network = loaded
        outputs = network.execute([torch.from_numpy(np.require(images, requirements=["C", "W"]))])
        # The memory of the outputs belongs to the program, which writes into it again.
        return [output.numpy().copy() for output in outputs]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
