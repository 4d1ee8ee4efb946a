"""The table of decoders: what turns an artefact's outputs into answers, by the name in its `DecoderSpec`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parckit.contract import DecoderSpec, InputError
from parckit.processing.classify import CLASSIFY, ClassDecoder
from parckit.processing.geometry import Geometry
from parckit.processing.prediction import Prediction


class Decoder(Protocol):
    """Turns the outputs for some images into one answer for each."""

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> Sequence[Prediction]:
        """Return an answer for every image.

        Args:
            outputs: the arrays that a `Session` returned.
            geometries: where the images lie in their pictures, one each.
        """
        ...


DECODERS = {CLASSIFY.name: ClassDecoder}


def make_decoder(
    spec: DecoderSpec, labels: Sequence[str], *, overrides: Mapping[str, int | float] | None = None
) -> Decoder:
    """Build the decoder that an artefact names.

    Args:
        spec: the artefact's.
        labels: class names by index.
        overrides: values to use in place of some of `spec.defaults`.

    Raises:
        InputError: if there is no such decoder, or it refuses a value or the name of one.
    """
    if spec.name not in DECODERS:
        raise InputError(f"decoder={spec.name!r}: this version knows {', '.join(DECODERS)}")
    for name in overrides or {}:
        if name not in spec.defaults:
            accepted = ", ".join(spec.defaults) or "nothing"
            raise InputError(f"{name}={(overrides or {})[name]}: this artefact lets callers set {accepted}")
    return DECODERS[spec.name](labels, spec.parameters, **{**spec.defaults, **(overrides or {})})  # pyright: ignore[reportArgumentType] - counts and shares alike are numbers in JSON
