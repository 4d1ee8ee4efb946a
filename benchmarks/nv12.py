"""Measure what NV12 costs: the networks that come with the package see pictures that went through NV12.

    OMP_NUM_THREADS=1 python benchmarks/nv12.py [--images N]

A camera or a decoder gives NV12, whose colours have half the resolution. Every test picture is brought to the input's
size, becomes NV12, and becomes RGB again. `full` and `limited` are the two ranges of levels. `mixed up` is a common
mistake: the picture uses the limited range, and the network takes it for the full one. OpenCV's `cvtColor` gives the
limited range, and D-Robotics' compiler expects the full one by default.

The networks run in torch. The data are ../shared/data/cifar10 (10,000 test pictures), ../shared/data/bccd.zip (72 test
pictures) and the test part of digit_scenes.
"""

import argparse
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.data import Batch
from parckit.measure.evaluation import EvaluationData, evaluate_session
from parckit.measure.records import write_record
from parckit.processing import nv12_to_rgb, rgb_to_nv12, to_array, to_pixels
from parckit.runtimes import Images, Outputs, Session, open_session

RECORD = Path(__file__).parent / "records" / "nv12.json"
SHARED = Path("../shared/data")
NETWORKS = {
    "parcnet_xs.cifar10": (str(SHARED / "cifar10"), "top1"),
    "tinydet_parcnet_xs.bccd": ("bccd", "map"),
    "upernet_parc_resnet10t.digit_scenes": ("digit_scenes", "miou"),
}
"""Weights of the package -> test data, and the number that counts."""
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
CHANGES: dict[str, Change] = {
    "none": lambda pixels: pixels,
    "full": lambda pixels: nv12_to_rgb(rgb_to_nv12(pixels)),
    "limited": lambda pixels: nv12_to_rgb(rgb_to_nv12(pixels, colour_range="limited"), colour_range="limited"),
    "mixed up": lambda pixels: nv12_to_rgb(rgb_to_nv12(pixels, colour_range="limited")),
}
"""Name -> what happens to a picture of the input's size."""


class ChangedSession:
    """A session whose network sees changed pictures."""

    def __init__(self, session: Session, change: Change) -> None:
        self.spec, self.input, self.outputs = session.spec, session.input, session.outputs
        self.decoder, self.engine, self.artefact = session.decoder, session.engine, session.artefact
        self.batch_size = session.batch_size
        self._session, self._change = session, change

    def __call__(self, images: Images) -> Outputs:
        """Change the pictures and run the network."""
        preprocessing = self.spec.preprocessing
        changed = [
            to_array(Image.fromarray(self._change(to_pixels(image, preprocessing, wanted=self.input))), preprocessing)
            for image in images
        ]
        return self._session(np.stack(changed))


def main() -> None:
    """Measure every network with every change, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=None, help="most pictures of each test; a trial, not recorded")
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    with TemporaryDirectory() as work:
        with zipfile.ZipFile(SHARED / "bccd.zip") as archive:
            archive.extractall(work)
        values = {
            name: measure(name, Path(work) if source == "bccd" else source, result, images=arguments.images)
            for name, (source, result) in NETWORKS.items()
        }
    print(json.dumps(values, indent=2))
    if arguments.images is None:
        write_record(RECORD, "nv12", values, seed=None, threads=threads)


def measure(name: str, source: Path | str, result: str, *, images: int | None) -> dict[str, object]:
    """Return the result of a network with every change."""
    data = EvaluationData(source=str(source), split="test", batch_size=50)
    session = open_session(name, runtime="torch", threads=1)

    def some(batches: Iterable[Batch]) -> Iterable[Batch]:
        return islice(batches, None if images is None else -(-images // data.batch_size))

    scores = {
        change: evaluate_session(ChangedSession(session, run), data, track=some).score
        for change, run in CHANGES.items()
    }
    figures = {change: round(score.scalars[result], 3) for change, score in scores.items()}
    return {"result": result, "images": next(iter(scores.values())).images, **figures}


if __name__ == "__main__":
    main()
