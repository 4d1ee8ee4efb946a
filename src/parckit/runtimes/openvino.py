"""The OpenVINO engine, on the CPU. It opens ONNX files."""

# Where the package is absent, the type checker takes this file for it.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

_VERSION = openvino.__version__.partition("-")[0]


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path, engine = folder / artefact.main_file, f"openvino {_VERSION}"
    properties: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if artefact.precision == "fp32":
        # On some processors it would otherwise compute in bfloat16.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
    try:
        network = openvino.Core().compile_model(path, "CPU", properties)
    except RuntimeError as error:
        raise cannot_load(path, engine=engine, reason=error) from error
    names = [output.name for output in artefact.outputs]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        results = network({artefact.input.name: images})
        return [results[name] for name in names]

    return ArtefactSession(artefact, spec, engine=engine, run=run)
