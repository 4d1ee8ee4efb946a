"""The table of decoders: what turns an artefact's outputs into answers, by the name in its `DecoderSpec`."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parckit.contract import DecoderSpec, InputError, NetworkSpec, Setting, Task
from parckit.processing.boxes import Suppress
from parckit.processing.classify import CLASSIFY, ClassDecoder
from parckit.processing.detections import DETECTIONS, DetectionsDecoder
from parckit.processing.geometry import Geometry
from parckit.processing.multilabel import MULTILABEL, LabelDecoder
from parckit.processing.prediction import Prediction
from parckit.processing.segment import CLASS_MAP, SEGMENT, ClassMapDecoder, SegmentDecoder
from parckit.processing.ssd import SSD, SsdDecoder
from parckit.processing.tinydet import TINYDET, TinyDetDecoder


class Decoder(Protocol):
    """Turns the outputs for some images into one answer for each."""

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> Sequence[Prediction]:
        """Return an answer for every image.

        Args:
            outputs: the arrays that a `Session` returned.
            geometries: where the images lie in their pictures, one each.
        """
        ...


class DecoderType(Protocol):
    """A class of decoders. Its keywords are the parameters, thresholds and counts that a `DecoderSpec` may hold.

    It must refuse wrong values with an `InputError`, because they come from files and users.
    """

    @property
    def task(self) -> Task:
        """The task of the networks whose outputs it decodes."""
        ...

    def __call__(self, labels: Sequence[str], **keywords: Any) -> Decoder:  # noqa: ANN401 - every class has its own
        """Build a decoder for classes of these names."""
        ...


DECODERS: Mapping[str, DecoderType] = {
    CLASSIFY.name: ClassDecoder,
    MULTILABEL.name: LabelDecoder,
    SSD: SsdDecoder,
    TINYDET: TinyDetDecoder,
    DETECTIONS: DetectionsDecoder,
    SEGMENT: SegmentDecoder,
    CLASS_MAP: ClassMapDecoder,
}


_SUPPRESS = "suppress"
"""Keyword of the decoders that suppress boxes. Only a caller may set it; a file may not."""


def make_decoder(
    decoder: DecoderSpec,
    network: NetworkSpec,
    *,
    overrides: Mapping[str, Setting] | None = None,
    suppress: Suppress | None = None,
) -> Decoder:
    """Build the decoder that an artefact names.

    Args:
        decoder: the artefact's.
        network: the artefact's network.
        overrides: values to use in place of some of `decoder.defaults`.
        suppress: what removes boxes that overlap, in place of the decoder's own; rooms with torch pass torchvision's.
            Decoders without boxes do not use it.

    Raises:
        InputError: if there is no such decoder for the network's task, or it refuses a value or the name of one.
    """
    kind = DECODERS.get(decoder.name)
    if kind is None:
        raise InputError(f"decoder={decoder.name!r}: this version knows {', '.join(DECODERS)}")
    if kind.task != network.task:
        raise InputError(f"decoder={decoder.name!r}: is for task={kind.task!r}, but the network's is {network.task!r}")
    for name, value in (overrides or {}).items():
        if name not in decoder.defaults:
            accepted = ", ".join(decoder.defaults) or "nothing"
            raise InputError(f"{name}={value}: this artefact lets callers set {accepted}")
    keywords = {**decoder.parameters, **decoder.defaults, **(overrides or {})}
    known = list(signature(kind).parameters)[1:]
    settable = [name for name in known if name != _SUPPRESS]
    for name in keywords:
        if name not in settable:
            raise InputError(f"decoder={decoder.name!r}: {name!r} is unknown; known are {', '.join(settable)}")
    functions = {_SUPPRESS: suppress} if suppress is not None and _SUPPRESS in known else {}
    try:
        return kind(network.labels, **keywords, **functions)
    except TypeError as error:  # a parameter in the file is of the wrong type
        raise InputError(f"decoder={decoder.name!r}, {keywords}: {error}") from error
