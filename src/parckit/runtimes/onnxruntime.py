"""The ONNX Runtime engine, on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from parckit.contract import Artefact, InputError, InputSpec, NetworkSpec, OutputSpec, read_artefact_metadata
from parckit.runtimes.protocol import Images
from parckit.runtimes.session import ArtefactSession, cannot_load

_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "uint8": "tensor(uint8)",
    "int8": "tensor(int8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
}
"""Element type of an artefact's input or output -> ONNX Runtime's name of it."""
_LOG_ERRORS = 3
"""ONNX Runtime's severity level below which it stays silent (0 verbose .. 4 fatal)."""


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> ArtefactSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it, or its graph has other inputs or outputs than the contract says.
    """
    path = folder / artefact.main_file
    return _session(load_graph(path, threads=threads), artefact, spec, path=path)


def open_file(path: Path, *, threads: int | None = None) -> ArtefactSession:
    """Load an ONNX file that parckit wrote; its own metadata says what it is.

    Raises:
        InputError: if the engine cannot load it, it was not written by parckit, or its metadata is damaged.
    """
    graph = load_graph(path, threads=threads)
    spec, artefact = read_artefact_metadata(graph.get_modelmeta().custom_metadata_map, path)
    return _session(graph, artefact, spec, path=path, name=path.name)


def load_graph(path: Path, *, threads: int | None = None, profile: Path | None = None) -> onnxruntime.InferenceSession:
    """Load an ONNX file with all graph optimizations.

    Args:
        path: the file.
        threads: threads inside one operator; operators run one after another. None leaves the number to the engine.
        profile: beginning of the path of a profile, in which the engine notes the time of every node of every run. The
            session's `end_profiling` writes it and returns its path. None makes no profile.

    Raises:
        InputError: if the engine cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no other common base class
        raise cannot_load(path, engine=f"ONNX Runtime {onnxruntime.__version__}", reason=error) from error


def _session(
    graph: onnxruntime.InferenceSession, artefact: Artefact, spec: NetworkSpec, *, path: Path, name: str = ""
) -> ArtefactSession:
    _check_graph(graph, artefact, path)
    names = [output.name for output in artefact.outputs]

    def run(images: Images) -> Sequence[npt.NDArray[np.generic]]:
        return cast("Sequence[npt.NDArray[np.generic]]", graph.run(names, {artefact.input.name: images}))

    return ArtefactSession(artefact, spec, engine=f"onnxruntime {onnxruntime.__version__}", run=run, name=name)


def _check_graph(graph: onnxruntime.InferenceSession, artefact: Artefact, path: Path) -> None:
    """Refuse a graph that is not as its description says; it would fail later, or give wrong answers."""
    inputs, outputs = graph.get_inputs(), {output.name: output for output in graph.get_outputs()}
    if [value.name for value in inputs] != [artefact.input.name]:
        raise InputError(f"{path}: its inputs are {[value.name for value in inputs]}, not {artefact.input.name!r}")
    _check_tensor(inputs[0], artefact.input, path)
    for output in artefact.outputs:
        if output.name not in outputs:
            raise InputError(f"{path}: has no output {output.name!r}; it has {', '.join(outputs)}")
        _check_tensor(outputs[output.name], output, path)


def _check_tensor(actual: onnxruntime.NodeArg, described: InputSpec | OutputSpec, path: Path) -> None:
    if actual.type != _TYPES.get(described.dtype):
        raise InputError(f"{path}: {described.name!r} is {actual.type}, but is described as {described.dtype}")
    # A size that is free in the graph is a name or None; the description may fix it. A graph can leave out a shape.
    sizes = [size if isinstance(size, int) else None for size in actual.shape] or list(described.shape)
    # An output may be described as free where this graph fixes it; an input may not.
    any_size = (None,) if isinstance(described, OutputSpec) else ()
    fits = len(sizes) == len(described.shape) and all(
        size in (None, wanted) or wanted in any_size for size, wanted in zip(sizes, described.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{path}: {described.name!r} has shape {actual.shape}, described is {list(described.shape)}")
