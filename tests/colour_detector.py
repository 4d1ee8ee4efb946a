"""A detector that is right by construction: it finds patches of pure red and pure green."""

import numpy as np
from scipy import ndimage

from parckit.contract import DecoderSpec, InputSpec, NetworkSpec, OutputSpec, Preprocessing
from parckit.processing import DETECTIONS

COLOURS = ((255, 0, 0), (0, 255, 0))
NAMES = ("red", "green")


class ColourSession:
    """Finds patches of pure red and green. The smaller a patch, the surer: the parts of cut objects win by score."""

    def __init__(self, size: tuple[int, int], *, masks: bool = False) -> None:
        preprocessing = Preprocessing(size=size, fit="stretch", interpolation="bilinear")
        self.spec = NetworkSpec(task="detect", backbone="none", head="x", labels=NAMES, preprocessing=preprocessing)
        self.input = InputSpec(dtype="uint8", layout="NHWC", shape=(1, *size, 3), normalised_inside=True)
        self.outputs: tuple[OutputSpec, ...] = ()
        self.decoder = DecoderSpec(name=DETECTIONS, parameters={}, defaults={"threshold": 0.0, "most": 1000})
        self.engine, self.artefact, self.batch_size = "by hand", "colours", 1
        self.masks = masks
        self.runs = 0

    def __call__(self, images):
        self.runs += 1
        boxes, labels = [], []
        for label, colour in enumerate(COLOURS):
            patches, _ = ndimage.label((images[0] == colour).all(axis=-1))
            for rows, columns in ndimage.find_objects(patches):
                boxes.append((columns.start, rows.start, columns.stop, rows.stop))
                labels.append(label)
        array = np.array(boxes, np.float32).reshape(-1, 4)
        scores = 1 / (1 + (array[:, 2:] - array[:, :2]).prod(axis=1) / 1e4)
        plain = (array, scores.astype(np.float32), np.array(labels, np.int64))
        return (*plain, np.ones((len(boxes), 28, 28), np.float32)) if self.masks else plain
