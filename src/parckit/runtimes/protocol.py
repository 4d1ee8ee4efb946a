"""What every engine offers."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from parckit.contract import DecoderSpec, InputError, InputSpec, NetworkSpec, OutputSpec

Images = npt.NDArray[np.generic]
"""Preprocessed images as a session's `input` describes them, such as (B, 3, H, W) float32."""
Outputs = tuple[npt.NDArray[np.generic], ...]
"""What a network returned: one array for each of a session's `outputs`, in their order."""

_MOST_THREADS = 1024
"""More threads than any machine runs at once. Engines crash or hang when they are asked for millions."""


class Session(Protocol):
    """A network loaded into an engine.

    Attributes:
        spec: what the network is and how its images are preprocessed, at the size of this session's input.
        input: what it takes.
        outputs: what it returns.
        decoder: how that becomes an answer.
        engine: the engine's name and version, such as `"onnxruntime 1.31.1"`.
        artefact: name of the bundle's artefact; the checkpoint's name for torch.
        batch_size: images of one run.
    """

    spec: NetworkSpec
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec
    engine: str
    artefact: str
    batch_size: int

    def __call__(self, images: Images) -> Outputs:
        """Run the network.

        Args:
            images: any number of them, if every output begins with the batch; else `batch_size`.

        Raises:
            InputError: if `images` has another type or shape than the network takes.

        Shape:
            images: (B, 3, H, W), or (B, H, W, 3) where `input.layout` is NHWC
        """
        ...


def check_threads(threads: int | None) -> None:
    """Raise InputError unless `threads` is None or from 1 to 1024."""
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"threads={threads}: must be from 1 to {_MOST_THREADS}")


def check_images(images: Images, wanted: InputSpec) -> None:
    """Raise InputError unless `images` has the type and, batch aside, the shape that an artefact takes."""
    sizes = wanted.shape[1:]
    fits = images.ndim == len(wanted.shape) and all(
        size is None or size == side for size, side in zip(sizes, images.shape[1:], strict=True)
    )
    if not fits or images.dtype != np.dtype(wanted.dtype):
        accepted = ", ".join(
            "B" if i == 0 else str(side or axis)
            for i, (side, axis) in enumerate(zip(wanted.shape, wanted.layout, strict=True))
        )
        raise InputError(f"images of shape {images.shape} and type {images.dtype}: must be ({accepted}) {wanted.dtype}")


def run_in_chunks(images: Images, *, batch_size: int, run: "RunGroup") -> Outputs:
    """Run any number of images in groups of a fixed number; the last group is filled up with zeros.

    Args:
        images: (B, ...).
        batch_size: images that `run` takes.
        run: runs one group; every output must begin with the batch.

    Shape:
        (B, ...) -> (B, ...) for each output
    """
    parts: list[Sequence[npt.NDArray[np.generic]]] = []
    # If there are no images, one group of zeros is run to learn the shapes of the outputs.
    for start in range(0, max(1, len(images)), batch_size):
        chunk = images[start : start + batch_size]
        lack = batch_size - len(chunk)
        padded = np.concatenate([chunk, np.zeros((lack, *chunk.shape[1:]), chunk.dtype)]) if lack else chunk
        parts.append([output[: len(chunk)] for output in run(padded)])
    if len(parts) == 1:
        return tuple(parts[0])
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


class RunGroup(Protocol):
    """One run of an engine, with as many images as its graph takes."""

    def __call__(self, images: Images) -> Sequence[npt.NDArray[np.generic]]:
        """Return the outputs."""
        ...
