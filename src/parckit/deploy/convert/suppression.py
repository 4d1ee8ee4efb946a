"""The decoding of boxes and the suppression (NMS) inside the graph of a detector."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import onnx_ir as ir

from parckit.contract import Artefact, DecoderSpec, InputError, NetworkSpec, OutputSpec, Setting
from parckit.deploy.convert.decoding import Decoding, Graph
from parckit.processing import (
    BACKGROUND,
    CENTRE_VARIANCE,
    DETECTIONS,
    LARGEST_OFFSET,
    SIZE_VARIANCE,
    SSD,
    TINYDET,
    DetectionsDecoder,
    PriorSettings,
    map_points,
    usual_settings,
)

_OUTPUTS = (
    OutputSpec(name="boxes", dtype="float32", layout="DC", shape=(None, 4)),
    OutputSpec(name="scores", dtype="float32", layout="D", shape=(None,)),
    OutputSpec(name="labels", dtype="int64", layout="D", shape=(None,)),
)
"""Boxes (left, top, right, bottom) in pixels of the input, scores and class indices; the best box comes first."""


_Decode = Callable[[Graph, Sequence[ir.Value], Mapping[str, object], tuple[int, int]], tuple[ir.Value, ir.Value]]
"""Adds the nodes from a network's outputs to boxes (1, N, 4) in pixels and scores (1, classes, N)."""


def suppression_decoding(artefact: Artefact, spec: NetworkSpec, *, threshold: float) -> Decoding:
    """Return what turns the raw maps of an artefact into boxes, scores and labels.

    Args:
        artefact: its decoder says how the maps become boxes, and the defaults of overlap and counts.
        spec: the network.
        threshold: boxes with a lower score never leave the graph. Callers may ask for a higher threshold.
    """
    decoder = artefact.decoder

    def add(graph: Graph, outputs: Sequence[ir.Value]) -> Sequence[ir.Value]:
        boxes, scores = _DECODES[decoder.name](graph, outputs, decoder.parameters, spec.preprocessing.size)
        return _suppress(graph, boxes, scores, threshold=threshold, limits=decoder.defaults)

    return Decoding(
        option="nms",
        add=add,
        outputs=_OUTPUTS,
        decoder=DecoderSpec(
            name=DETECTIONS, defaults={name: decoder.defaults[name] for name in usual_settings(DetectionsDecoder)}
        ),
    )


def check_can_suppress(decoder: DecoderSpec) -> None:
    """Check that a network's boxes can be decoded and suppressed inside the graph.

    Raises:
        InputError: if not.
    """
    if decoder.name == DETECTIONS:
        raise InputError("nms=True: two-stage detectors suppress boxes themselves; leave it out")
    if decoder.name not in _DECODES:
        raise InputError(f"nms=True: only the heads {', '.join(_DECODES)} give boxes to suppress, not {decoder.name}")


def _decode_ssd(
    graph: Graph, outputs: Sequence[ir.Value], parameters: Mapping[str, object], size: tuple[int, int]
) -> tuple[ir.Value, ir.Value]:
    """Do what `SsdDecoder` does: softmax without the background, and boxes at offsets from priors."""
    logits, offsets = outputs
    offsets = graph.add("Clip", offsets, np.array(-LARGEST_OFFSET, np.float32), np.array(LARGEST_OFFSET, np.float32))
    shares = graph.add("Softmax", logits, axis=2)
    classes = cast("int", cast("ir.Shape", logits.shape)[2])
    scores = graph.add("Transpose", graph.slice(shares, BACKGROUND + 1, classes, axis=2), perm=[0, 2, 1])
    # Boxes in pixels: the priors are shares of the image's width and height.
    priors = PriorSettings(**parameters).priors(size)[None]  # pyright: ignore[reportArgumentType] - see make_decoder
    height, width = size
    centres, sides = (part * np.array([width, height], np.float32) for part in (priors[..., :2], priors[..., 2:]))
    moves = graph.add("Mul", graph.slice(offsets, 0, 2, axis=2), sides * np.float32(CENTRE_VARIANCE))
    middle = graph.add("Add", moves, centres)
    growth = graph.add("Exp", graph.add("Mul", graph.slice(offsets, 2, 4, axis=2), np.array(SIZE_VARIANCE, np.float32)))
    half = graph.add("Mul", growth, sides / np.float32(2))
    boxes = graph.add("Concat", graph.add("Sub", middle, half), graph.add("Add", middle, half), axis=2)
    return boxes, scores


def _decode_tinydet(
    graph: Graph, outputs: Sequence[ir.Value], parameters: Mapping[str, object], size: tuple[int, int]
) -> tuple[ir.Value, ir.Value]:
    """Do what `TinyDetDecoder` does: a sigmoid, and boxes at distances from the points of the maps."""
    del size
    strides = cast("Sequence[int]", parameters["strides"])
    shapes = [cast("Sequence[int]", cast("ir.Shape", output.shape).numpy()) for output in outputs]
    rows = [
        graph.reshape(output, 1, shape[1], shape[2] * shape[3]) for output, shape in zip(outputs, shapes, strict=True)
    ]
    scores = graph.add("Sigmoid", graph.add("Concat", *rows[: len(strides)], axis=2))
    points = [map_points(*shape[2:], stride) for shape, stride in zip(shapes, strides, strict=False)]
    steps = [np.full(len(one), stride, np.float32) for one, stride in zip(points, strides, strict=True)]
    distances = graph.add("Softplus", graph.add("Concat", *rows[len(strides) :], axis=2))
    distances = graph.add("Mul", distances, np.concatenate(steps))
    centres = np.ascontiguousarray(np.concatenate(points).T[None])
    corners = graph.add(
        "Concat",
        graph.add("Sub", centres, graph.slice(distances, 0, 2, axis=1)),
        graph.add("Add", centres, graph.slice(distances, 2, 4, axis=1)),
        axis=1,
    )
    return graph.add("Transpose", corners, perm=[0, 2, 1]), scores


_DECODES: Mapping[str, _Decode] = {SSD: _decode_ssd, TINYDET: _decode_tinydet}
"""Name of a decoder -> what does the same inside a graph."""


def _suppress(
    graph: Graph, boxes: ir.Value, scores: ir.Value, *, threshold: float, limits: Mapping[str, Setting]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Do what `BoxSelection` does: suppress class by class, then take the best boxes of all classes.

    ONNX's operator suppresses as ours does: the scores must be larger than the threshold, the overlap larger than the
    accepted one, and of boxes with equal scores the first one stays.

    Returns:
        Boxes, scores and labels, the best box first.

    Shape:
        boxes: (1, N, 4)
        scores: (1, classes, N)
        returned: (K, 4), (K,), (K,)
    """
    kept = graph.add(
        "NonMaxSuppression",
        boxes,
        scores,
        np.array([limits["per_class"]], np.int64),
        np.array([limits["overlap"]], np.float32),
        np.array([threshold], np.float32),
    )
    # Every row of `kept` is (image, class, box). The operator TopK, too, takes the first of equal scores first.
    kept_scores = graph.add("GatherND", scores, kept)
    ranking = graph.add_two("TopK", kept_scores, graph.add("Shape", kept_scores))
    most = int(cast("int", limits["most"]))
    best_scores, order = (graph.slice(one, 0, most, axis=0) for one in ranking)
    best = graph.add("Gather", kept, order, axis=0)
    labels, rows = (graph.add("Gather", best, np.array(column, np.int64), axis=1) for column in (1, 2))
    return graph.add("Gather", graph.reshape(boxes, -1, 4), rows, axis=0), best_scores, labels
