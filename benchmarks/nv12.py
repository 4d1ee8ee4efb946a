"""Measure what NV12 costs: the networks that come with the package see pictures that went through NV12.

    OMP_NUM_THREADS=1 python benchmarks/nv12.py --work FOLDER [--most N]

A camera or a decoder gives NV12, whose colours have half the resolution. Every test picture is brought to the input's
size, becomes NV12, and becomes RGB again. `full` and `limited` are the two ranges of levels. `mixed up` is a common
mistake: the picture uses the limited range, and the network takes it for the full one. OpenCV's `cvtColor` gives the
limited range, and D-Robotics' compiler expects the full one by default.

A run that was stopped goes on where it ended. The networks run in ONNX Runtime.
The data are ../shared/data/cifar10 (10,000 test pictures), ../shared/data/bccd.zip (72 test
pictures) and the test part of digit_scenes.
"""

import argparse
import json
import os
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.deploy import export
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
    """Measure what is still to do, and record every network that is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the results, each of which is kept")
    parser.add_argument("--most", type=int, default=None, help="end after so many new results")
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    blood = arguments.work / "bccd"
    if not blood.is_dir():
        with zipfile.ZipFile(SHARED / "bccd.zip") as archive:
            archive.extractall(blood)
    missing = [pair for pair in product(NETWORKS, CHANGES) if not place(arguments.work, *pair).is_file()]
    for name, change in missing[: arguments.most]:
        source, result = NETWORKS[name]
        values = measure(
            name, blood if source == "bccd" else source, result, change=change, bundle=arguments.work / name
        )
        place(arguments.work, name, change).write_text(json.dumps(values), encoding="utf-8")
        print(name, change, values, flush=True)
    write_record(RECORD, "nv12", collect(arguments.work), seed=None, threads=threads)


def place(work: Path, name: str, change: str) -> Path:
    """Return the file of a result."""
    return work / f"{name}-{change.replace(' ', '-')}.json"


def measure(name: str, source: Path | str, result: str, *, change: str, bundle: Path) -> dict[str, object]:
    """Return the result of a network with a change. `bundle` is the folder of its bundle."""
    data = EvaluationData(source=str(source), split="test", batch_size=50)
    if not bundle.is_dir():
        export(name, bundle)
    session = open_session(bundle, runtime="onnxruntime", threads=1)
    score = evaluate_session(ChangedSession(session, CHANGES[change]), data).score
    return {"result": result, "images": score.images, "value": round(score.scalars[result], 3)}


def collect(work: Path) -> dict[str, object]:
    """Return the results of all networks that are complete."""
    values: dict[str, object] = {}
    for name in NETWORKS:
        if not all(place(work, name, change).is_file() for change in CHANGES):
            continue
        results = {change: json.loads(place(work, name, change).read_text(encoding="utf-8")) for change in CHANGES}
        first = results["none"]
        figures = {change: result["value"] for change, result in results.items()}
        values[name] = {"result": first["result"], "images": first["images"], **figures}
    return values


if __name__ == "__main__":
    main()
