"""The LiteRT engine, on the CPU with XNNPACK. It opens `.tflite` files."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.native_output import capturing_native_output
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

with capturing_native_output():
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"litert {version('ai-edge-litert')}"
    try:
        with capturing_native_output():  # it prints that it uses XNNPACK
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            network = interpreter.get_signature_runner()
    except (RuntimeError, ValueError) as error:
        raise cannot_load(path, engine=engine, reason=error) from error

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        results = network(**{artefact.input.name: images})
        return [results[f"output_{index}"] for index in range(len(artefact.outputs))]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
