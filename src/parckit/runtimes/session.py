"""The session of an artefact: what all engines but torch share. An engine adds how its graph runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from parckit.contract import Artefact, InputError, NetworkSpec, shorten_message
from parckit.runtimes.protocol import Images, Outputs, RunGroup, check_images, run_in_chunks


@final
class ArtefactSession:
    """An artefact loaded into an engine.

    Args:
        artefact: describes the graph's input and outputs.
        spec: what the network is.
        engine: name and version of the engine.
        run: runs the graph with as many images as it takes at once.
        name: what the session calls itself; by default the artefact's name.
    """

    def __init__(self, artefact: Artefact, spec: NetworkSpec, *, engine: str, run: RunGroup, name: str = "") -> None:
        self.spec = spec
        self.input = artefact.input
        self.outputs = artefact.outputs
        self.decoder = artefact.decoder
        self.engine = engine
        self.artefact = name or artefact.name
        self.batch_size = artefact.input.batch_size or 1
        self._run = run
        self._in_chunks = artefact.runs_in_chunks

    def __call__(self, images: Images) -> Outputs:
        """Run the graph; see `Session`."""
        check_images(images, self.input)
        if self.input.batch_size in (None, len(images)):
            return tuple(self._run(images))
        if not self._in_chunks:
            raise InputError(f"{len(images)} images: this artefact takes {self.batch_size} at once")
        return run_in_chunks(images, batch_size=self.batch_size, run=self._run)


def in_shape(output: npt.NDArray[np.generic], shape: Sequence[int | None]) -> npt.NDArray[np.generic]:
    """Return an engine's output in the shape that an artefact describes.

    An output with another number of elements stays as it is. Decoders refuse it, and a check names both shapes.
    """
    try:
        return output.reshape([size or -1 for size in shape])
    except ValueError:
        return output


def cannot_load(path: Path, *, engine: str, reason: object) -> InputError:
    """Return the error for a file that an engine does not load.

    Args:
        path: the file.
        engine: name and version of the engine.
        reason: the engine's error, or its message.
    """
    return InputError(f"{path}: {engine} cannot load it ({shorten_message(reason)})")
