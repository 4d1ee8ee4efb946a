"""A network that segments, seen as one that takes whole pictures of any size, through windows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import DecoderSpec, InputError, InputSpec, OutputSpec, Preprocessing
from parckit.processing import (
    CLASS_MAP,
    SEGMENT,
    WindowedNetwork,
    WindowSettings,
    classes_in_windows,
    preprocess,
    read_maps,
)
from parckit.runtimes.protocol import Images, Outputs, Session, check_images


@final
class WindowSession:
    """A session that takes pictures of any size, as RGB pixels, and returns the class of every pixel.

    The network sees every window resized to its input, without cropping.

    Args:
        session: a session with raw maps of logits.
        settings: the windows; without a size, they are as large as the network's input.

    Raises:
        InputError: if the network does not segment, or its logits are not among the outputs.
    """

    def __init__(self, session: Session, settings: WindowSettings) -> None:
        if session.spec.task != "segment":
            raise InputError(f"tiles: this network's task is {session.spec.task!r}; only segmentation averages windows")
        if session.decoder.name != SEGMENT:
            reason = "gives the best class of every pixel, which cannot be averaged where tiles overlap"
            raise InputError(f"tiles: {session.artefact} {reason}; name the artefact of the raw maps with --artefact")
        self._session = session
        self._settings = settings
        preprocessing = session.spec.preprocessing
        self._network = WindowedNetwork(
            run=self._run,
            classes=len(session.spec.labels),
            window=settings.tiles.size or preprocessing.size,
            resample=Image.Resampling[preprocessing.interpolation.upper()],
            fill=preprocessing.fill,
        )
        self.spec = replace(session.spec, preprocessing=Preprocessing(size=preprocessing.size))
        self.input = InputSpec(dtype="uint8", normalised_inside=True)
        self.outputs = (OutputSpec(name="classes", dtype="uint8", layout="NHW", shape=(None, None, None)),)
        self.decoder = DecoderSpec(name=CLASS_MAP)
        self.engine = session.engine
        self.artefact = session.artefact
        self.batch_size = 1

    def __call__(self, images: Images) -> Outputs:
        """Return the class of every pixel.

        Shape:
            (B, 3, H, W) uint8 -> (B, H, W) uint8
        """
        check_images(images, self.input)
        pictures = (Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))) for pixels in images)
        classes = [classes_in_windows(picture, self._network, settings=self._settings) for picture in pictures]
        return (np.stack(classes),)

    def _run(self, windows: Sequence[Image.Image]) -> Iterator[NDArray[np.float32]]:
        preprocessing, labels = self._session.spec.preprocessing, self._session.spec.labels
        to_input = replace(preprocessing, fit="stretch", crop_pct=1.0)
        arrays = (preprocess(window, to_input, wanted=self._session.input)[0] for window in windows)
        while group := list(islice(arrays, self._session.batch_size)):
            yield from read_maps(self._session(np.stack(group)), classes=len(labels))
