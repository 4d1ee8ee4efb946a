"""The Core ML engine of macOS. It was written after the documentation of coremltools 9, and nobody has run it yet."""

from collections.abc import Sequence
from pathlib import Path

import coremltools  # pyright: ignore[reportMissingImports]
import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked. Core ML chooses the number of threads.

    Raises:
        InputError: if the engine cannot load it, as on systems other than macOS.
    """
    del threads
    package, engine = (folder / artefact.main_file).parent, f"coreml {coremltools.__version__}"
    try:
        network = coremltools.models.MLModel(str(package))
        network.predict({artefact.input.name: np.zeros([size or 1 for size in artefact.input.shape], np.float32)})
    except Exception as error:  # it raises errors of many classes
        raise cannot_load(package, engine=engine, reason=error) from error

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        results = network.predict({artefact.input.name: images})
        return [results[output.name] for output in artefact.outputs]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
