"""The ONNX Runtime engine, on the CPU."""

from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime

from parckit.contract import MODEL_FILE, ModelSpec, read_contract
from parckit.runtimes.protocol import Images, Logits, check_images, check_threads

_LOG_ERRORS = 3
"""ONNX Runtime's severity level below which it stays silent (0 verbose .. 4 fatal)."""


class OnnxRuntimeSession:
    """An ONNX graph of one image input and one logits output, of static shapes.

    Args:
        graph: the loaded graph.
        spec: what it is.
    """

    def __init__(self, graph: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
        self.spec = spec
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self._graph = graph
        self._input = graph.get_inputs()[0].name
        self.batch_size, _, *size = graph.get_inputs()[0].shape
        self._size = (size[0], size[1])
        self._classes = graph.get_outputs()[0].shape[1]

    def __call__(self, images: Images) -> Logits:
        """Run the graph on any number of images, in chunks of its static batch; the last chunk is padded with zeros.

        Shape:
            (B, 3, H, W) -> (B, num_classes)
        """
        check_images(images, size=self._size)
        logits = np.empty((len(images), self._classes), np.float32)
        for start in range(0, len(images), self.batch_size):
            chunk = images[start : start + self.batch_size]
            lack = self.batch_size - len(chunk)
            padded = np.pad(chunk, ((0, lack), (0, 0), (0, 0), (0, 0))) if lack else chunk
            (found,) = cast("list[Logits]", self._graph.run(None, {self._input: padded}))
            logits[start : start + self.batch_size] = found[: len(chunk)]
        return logits


def open_bundle(folder: Path, *, threads: int | None = None) -> OnnxRuntimeSession:
    """Open a bundle after checking that its files are the ones its contract was written for.

    Raises:
        InputError: if `folder` is no intact bundle, or `threads` is below 1.
    """
    contract = read_contract(folder)
    return OnnxRuntimeSession(load_graph(folder / MODEL_FILE, threads=threads), contract.spec)


def load_graph(path: Path, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Load an ONNX file with all graph optimizations.

    Args:
        path: the file.
        threads: threads inside one operator; operators run one after another. None leaves the number to the engine.

    Raises:
        InputError: if `threads` is below 1.
    """
    check_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
