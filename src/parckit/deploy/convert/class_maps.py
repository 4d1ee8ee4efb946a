"""Resizing and argmax inside the graph of a network that segments: it then returns the class of every pixel."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
import onnx_ir as ir

from parckit.contract import Artefact, DecoderSpec, InputError, OutputSpec
from parckit.deploy.convert.decoding import Decoding, Graph
from parckit.processing import CLASS_MAP, SEGMENT

_OPTIONAL_OPSET = 13
"""The first opset in which Resize takes a size alone; before, it wants two more inputs, which may be empty."""


def check_has_maps(decoder: DecoderSpec) -> None:
    """Check that a network has maps of logits, one for each class.

    Raises:
        InputError: if not.
    """
    if decoder.name != SEGMENT:
        raise InputError(f"argmax=True: is for networks that segment; the outputs of this one are for {decoder.name!r}")


def class_map_decoding(artefact: Artefact) -> Decoding:
    """Return what turns the maps of an artefact into classes."""
    batch, size = artefact.input.batch_size, artefact.input.size
    assert size is not None  # noqa: S101 - the converter writes static shapes
    opset = cast("int", artefact.options["opset"])
    return Decoding(
        option="argmax",
        add=partial(_add_argmax, size=size, opset=opset),
        outputs=(OutputSpec(name="classes", dtype="uint8", layout="NHW", shape=(batch, *size)),),
        decoder=DecoderSpec(name=CLASS_MAP),
    )


def _add_argmax(graph: Graph, outputs: Sequence[ir.Value], *, size: tuple[int, int], opset: int) -> Sequence[ir.Value]:
    """Resize the logits to the input's size bilinearly, and take the best class of every pixel.

    `SegmentDecoder` does the same for a picture of that size. ONNX's operators work as ours: the borders of the maps'
    outer pixels stay where they are (half_pixel), and of equal logits the first one wins.
    """
    (logits,) = outputs
    batch, classes, *_ = cast("Sequence[int]", cast("ir.Shape", logits.shape).numpy())
    absent = None if opset >= _OPTIONAL_OPSET else np.zeros(0, np.float32)
    whole = graph.add(
        "Resize",
        logits,
        absent,
        absent,
        np.array([batch, classes, *size], np.int64),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return [graph.add("Cast", graph.add("ArgMax", whole, axis=1, keepdims=0), to=int(ir.DataType.UINT8))]
