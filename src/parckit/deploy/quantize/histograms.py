"""Statistics of the activations of an ONNX graph: lowest and highest number, then a histogram, tensor by tensor.

The graph runs in ONNX Runtime with its activations as further outputs. Activations of large images take much memory,
so only a part of them is asked for at once, and the graph runs once for each part.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from parckit.deploy.errors import ExportError

Images = NDArray[np.generic]
Track = Callable[[Iterable[Images]], Iterable[Images]]
"""Returns the groups of images that it gets, and may show the progress of the work."""

BINS = 4096
"""Bins of a histogram. The range of 8 bits then has 16 bins for each of its steps, or 8 on one side of zero."""
_MOST_BYTES = 1 << 28
"""Bytes of the activations that are asked for at once (256 MB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How often the numbers of an activation occurred.

    Attributes:
        lowest: the lowest number.
        highest: the highest number.
        counts: (BINS,) how many numbers fell into each of the equal bins from `-limit` to `limit`.
    """

    lowest: float
    highest: float
    counts: NDArray[np.int64]

    @property
    def limit(self) -> float:
        """Absolute value of the number that is farthest from zero."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def centres(self) -> NDArray[np.float64]:
        """(BINS,) the middle of every bin."""
        width = 2 * self.limit / len(self.counts)
        return (np.arange(len(self.counts), dtype=np.float64) + 0.5) * width - self.limit


def float_tensors(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the float32 tensors of a graph that are no constants, with their shapes; free sizes count as 1.

    Raises:
        onnx.shape_inference.InferenceError: if the graph is broken.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    made = {output for node in inferred.node if node.op_type != "Constant" for output in node.output}
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    made |= {value.name for value in inferred.input} - {value.name for value in inferred.initializer}
    return {
        value.name: tuple(side.dim_value or 1 for side in value.type.tensor_type.shape.dim)
        for value in values
        if value.name in made and value.type.tensor_type.elem_type == TensorProto.FLOAT
    }


def run_activations(
    model: onnx.ModelProto, groups: Sequence[Images], *, tensors: Mapping[str, tuple[int, ...]], track: Track = iter
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run a graph on groups of images, and yield its activations, one after the other.

    Args:
        model: the graph. It has one input.
        groups: each as the graph takes it.
        tensors: names and shapes of the activations.
        track: gets the groups of every run.
    """
    image = model.graph.input[0].name
    for part in _parts(tensors):
        session = _session(model, outputs=[name for name in part if name != image])
        for group in track(groups):
            if image in part:
                yield image, cast("NDArray[np.float32]", group)
            names = [name for name in part if name != image]
            outputs = session.run(names, {image: group}) if names else []
            yield from zip(names, cast("Sequence[NDArray[np.float32]]", outputs), strict=True)


def collect_histograms(
    model: onnx.ModelProto, groups: Sequence[Images], *, track: Track = iter
) -> dict[str, Histogram]:
    """Return the histogram of every float32 activation of a graph. The graph runs twice for every group.

    Args:
        model: the graph.
        groups: calibration images, each group as the graph takes it.
        track: gets the groups of every run.

    Raises:
        ExportError: if an activation is infinite or no number.
    """
    tensors = float_tensors(model)
    ranges: dict[str, tuple[float, float]] = {}
    for name, values in run_activations(model, groups, tensors=tensors, track=track):
        lowest, highest = ranges.get(name, (np.inf, -np.inf))
        ranges[name] = (min(lowest, float(values.min())), max(highest, float(values.max())))
        if not np.isfinite(ranges[name]).all():
            raise ExportError(f"the activation {name} has numbers that are not finite, so it cannot be quantized")
    counts = {name: np.zeros(BINS, np.int64) for name in tensors}
    for name, values in run_activations(model, groups, tensors=tensors, track=track):
        counts[name] += count_in_bins(values, limit=max(map(abs, ranges[name])))
    return {
        name: Histogram(lowest=lowest, highest=highest, counts=counts[name])
        for name, (lowest, highest) in ranges.items()
    }


def count_in_bins(values: NDArray[np.float32], *, limit: float) -> NDArray[np.int64]:
    """Return how many values fall into each of BINS equal bins from `-limit` to `limit`."""
    if not limit:
        return np.bincount([BINS // 2], minlength=BINS) * values.size
    places = (values.ravel() + np.float32(limit)) * np.float32(BINS / (2 * limit))
    return np.bincount(np.minimum(places, BINS - 1).astype(np.int32), minlength=BINS)


def _parts(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[list[str]]:
    """Divide activations into parts that take `_MOST_BYTES` at most, or are one activation."""
    part: list[str] = []
    size = 0
    for name, shape in tensors.items():
        bytes_of_one = 4 * prod(shape)
        if part and size + bytes_of_one > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(name)
        size += bytes_of_one
    if part:
        yield part


def _session(model: onnx.ModelProto, *, outputs: Sequence[str]) -> onnxruntime.InferenceSession:
    """Return a session of a graph that gives these activations as outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    present = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name not in present
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
