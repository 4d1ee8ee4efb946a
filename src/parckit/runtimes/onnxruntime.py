"""The ONNX Runtime engine, on the CPU."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from parckit.contract import (
    SPEC_KEY,
    Artefact,
    DecoderSpec,
    InputError,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    from_plain,
)
from parckit.runtimes.protocol import Images, Outputs, check_images, run_in_chunks

ARTEFACT_KEY = "parckit_artefact"
"""Key in a file's metadata: the artefact's input, outputs and decoder, as JSON. The spec stands under SPEC_KEY."""

_LOG_ERRORS = 3
"""ONNX Runtime's severity level below which it stays silent (0 verbose .. 4 fatal)."""


class OnnxRuntimeSession:
    """An ONNX graph with one image input.

    Args:
        graph: the loaded graph.
        spec: what the network is.
        artefact: name of the artefact.
        wanted: its input.
        outputs: its outputs.
        decoder: how they become an answer.
    """

    def __init__(
        self,
        graph: onnxruntime.InferenceSession,
        spec: NetworkSpec,
        *,
        artefact: str,
        wanted: InputSpec,
        outputs: tuple[OutputSpec, ...],
        decoder: DecoderSpec,
    ) -> None:
        self.spec = spec
        self.input = wanted
        self.outputs = outputs
        self.decoder = decoder
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self.artefact = artefact
        self.batch_size = wanted.batch_size or 1
        self._graph = graph
        self._names = [output.name for output in outputs]
        self._in_chunks = all(output.layout.startswith("N") for output in outputs)

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
        InputError: if its graph has other inputs or outputs than the contract says.
    """
    path = folder / artefact.main_file
    graph = load_graph(path, threads=threads)
    inputs, outputs = ({value.name for value in values} for values in (graph.get_inputs(), graph.get_outputs()))
    if inputs != {artefact.input.name} or not {output.name for output in artefact.outputs} <= outputs:
        raise InputError(f"{path}: its inputs {sorted(inputs)} or outputs {sorted(outputs)} are not the contract's")
    return OnnxRuntimeSession(
        graph,
        spec,
        artefact=artefact.name,
        wanted=artefact.input,
        outputs=artefact.outputs,
        decoder=artefact.decoder,
    )


def open_file(path: Path, *, threads: int | None = None) -> OnnxRuntimeSession:
    """Load an ONNX file that parckit wrote; its own metadata says what it is.

    Raises:
        InputError: if the file was not written by parckit.
    """
    graph = load_graph(path, threads=threads)
    metadata = graph.get_modelmeta().custom_metadata_map
    if SPEC_KEY not in metadata or ARTEFACT_KEY not in metadata:
        raise InputError(f"{path}: not written by parckit (its metadata lacks {SPEC_KEY!r} or {ARTEFACT_KEY!r})")
    facts = json.loads(metadata[ARTEFACT_KEY])
    return OnnxRuntimeSession(
        graph,
        NetworkSpec.from_dict(json.loads(metadata[SPEC_KEY])),
        artefact=path.name,
        wanted=from_plain(InputSpec, facts["input"], name=f"{path}: input"),
        outputs=tuple(from_plain(OutputSpec, output, name=f"{path}: output") for output in facts["outputs"]),
        decoder=from_plain(DecoderSpec, facts["decoder"], name=f"{path}: decoder"),
    )


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
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
