"""The OpenVINO engine, on the CPU. It opens ONNX files."""

# Where the package is absent, the type checker takes this file for it.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec, Precision
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

_ENGINE = f"openvino {openvino.__version__.partition('-')[0]}"


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it.
    """
    path = folder / artefact.main_file
    network = compile_graph(path, precision=artefact.precision, threads=threads)
    names = [output.name for output in artefact.outputs]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        results = network({artefact.input.name: images})
        return [results[name] for name in names]

    return ArtefactSession(artefact, spec, engine=_ENGINE, run=run)


def compile_graph(
    graph: "Path | openvino.Model", *, precision: Precision, threads: int | None = None, profile: bool = False
) -> "openvino.CompiledModel":
    """Compile a graph for the CPU, for one run at a time.

    Args:
        graph: an ONNX file, or a graph of OpenVINO.
        precision: precision of its arithmetic.
        threads: threads of one run; None leaves the number to the engine.
        profile: whether a request tells the time of every layer.

    Raises:
        InputError: if the engine cannot load it.
    """
    properties: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "PERF_COUNT": profile}
    if precision == "fp32":
        # On some processors it would otherwise compute in bfloat16.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
    try:
        return openvino.Core().compile_model(graph, "CPU", properties)
    except RuntimeError as error:
        raise cannot_load(Path(str(graph)), engine=_ENGINE, reason=error) from error
