"""The ONNX Runtime engine, on the CPU."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from parckit.contract import Artefact, InputError, InputSpec, NetworkSpec, OutputSpec, read_artefact_metadata
from parckit.runtimes.protocol import Images, Outputs, check_images, run_in_chunks

_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "uint8": "tensor(uint8)",
    "int8": "tensor(int8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
}
"""Element type of an artefact's input or output -> ONNX Runtime's name of it."""
_REASON_CHARS = 200
"""Number of characters of the engine's message that an error shows."""
_LOG_ERRORS = 3
"""ONNX Runtime's severity level below which it stays silent (0 verbose .. 4 fatal)."""


class OnnxRuntimeSession:
    """An ONNX graph with one image input.

    Args:
        graph: the loaded graph.
        spec: what the network is.
        artefact: describes the graph's input and outputs.
        name: what the session calls itself; by default the artefact's name.
    """

    def __init__(
        self, graph: onnxruntime.InferenceSession, spec: NetworkSpec, artefact: Artefact, *, name: str = ""
    ) -> None:
        self.spec = spec
        self.input = artefact.input
        self.outputs = artefact.outputs
        self.decoder = artefact.decoder
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self.artefact = name or artefact.name
        self.batch_size = artefact.input.batch_size or 1
        self._graph = graph
        self._names = [output.name for output in artefact.outputs]
        self._in_chunks = artefact.runs_in_chunks

    def __call__(self, images: Images) -> Outputs:
        """Run the graph; see `Session`."""
        check_images(images, self.input)
        if self.input.batch_size in (None, len(images)):
            return tuple(self._run(images))
        if not self._in_chunks:
            raise InputError(f"{len(images)} images: this artefact takes {self.batch_size} at once")
        return run_in_chunks(images, batch_size=self.batch_size, run=self._run)

    def _run(self, images: Images) -> Sequence[npt.NDArray[np.generic]]:
        outputs = self._graph.run(self._names, {self.input.name: images})
        return cast("Sequence[npt.NDArray[np.generic]]", outputs)


def open_artefact(
    folder: Path, artefact: Artefact, spec: NetworkSpec, *, threads: int | None = None
) -> OnnxRuntimeSession:
    """Load an artefact of the bundle `folder`, whose files have been checked.

    Raises:
        InputError: if the engine cannot load it, or its graph has other inputs or outputs than the contract says.
    """
    path = folder / artefact.main_file
    graph = load_graph(path, threads=threads)
    _check_graph(graph, artefact, path)
    return OnnxRuntimeSession(graph, spec, artefact)


def open_file(path: Path, *, threads: int | None = None) -> OnnxRuntimeSession:
    """Load an ONNX file that parckit wrote; its own metadata says what it is.

    Raises:
        InputError: if the engine cannot load it, it was not written by parckit, or its metadata is damaged.
    """
    graph = load_graph(path, threads=threads)
    spec, artefact = read_artefact_metadata(graph.get_modelmeta().custom_metadata_map, path)
    _check_graph(graph, artefact, path)
    return OnnxRuntimeSession(graph, spec, artefact, name=path.name)


def load_graph(path: Path, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Load an ONNX file with all graph optimizations.

    Args:
        path: the file.
        threads: threads inside one operator; operators run one after another. None leaves the number to the engine.

    Raises:
        InputError: if the engine cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no other common base class
        reason = textwrap.shorten(str(error), _REASON_CHARS)
        raise InputError(f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load it ({reason})") from error


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
