"""The page of the quickstart: what was found, in words, tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parckit import __version__
from parckit.cli.tables import count
from parckit.contract import Contract, ModelSpec
from parckit.measure import plots
from parckit.measure.accuracy import Accuracy
from parckit.measure.curve import CurveRow
from parckit.measure.environment import describe
from parckit.measure.latency import Timing
from parckit.measure.report import Headline, ModelCard, Picture, Provenance, Report, Table, write_report


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Test images as they are to be shown, (H, W, 3) uint8, with what the model says of them."""

    images: Sequence[npt.NDArray[np.uint8]]
    truths: Sequence[str]
    predictions: Sequence[str]
    confidences: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Everything the quickstart found.

    Attributes:
        spec: the trained model.
        contract: the bundle's.
        bundle_bytes: size of its model file.
        curve: the training's log.
        torch: accuracy of the checkpoint.
        onnxruntime: accuracy of the bundle.
        samples: predictions of the bundle on the test images.
        timings: engine -> timings for each number of threads, one thread first.
        seed: of the training.
        commands: shell lines that give the same again.
        seconds: of the whole path, from the start to the last measurement.
    """

    spec: ModelSpec
    contract: Contract
    bundle_bytes: int
    curve: tuple[CurveRow, ...]
    torch: Accuracy
    onnxruntime: Accuracy
    samples: Samples
    timings: Mapping[str, tuple[Timing, ...]]
    seed: int
    commands: tuple[str, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """Epochs of the training."""
        return 1 + max(row.epoch for row in self.curve if row.epoch is not None)

    @property
    def latency(self) -> Timing:
        """ONNX Runtime's timing on one thread."""
        return self.timings[self.contract.parity.runtime][0]


def write(path: Path, outcome: Outcome) -> None:
    """Write the page."""
    report = Report(
        title=f"{outcome.spec.model} on handwritten digits",
        summary=(
            f"Trained from scratch for {outcome.epochs} epochs, folded to a static graph, exported to ONNX and "
            f"compared: on {outcome.onnxruntime.images} held-out images ONNX Runtime is right as often as torch to "
            f"{abs(outcome.onnxruntime.top1 - outcome.torch.top1):.2f} points."
        ),
        headlines=_headlines(outcome),
        pictures=_pictures(outcome),
        tables=_tables(outcome),
        card=_card(outcome),
        provenance=_provenance(outcome),
    )
    write_report(path, report)


def _headlines(outcome: Outcome) -> tuple[Headline, ...]:
    parity = outcome.contract.parity
    return (
        Headline(label="Top-1, torch", value=f"{outcome.torch.top1:.2f} %"),
        Headline(label="Top-1, ONNX Runtime", value=f"{outcome.onnxruntime.top1:.2f} %"),
        Headline(label="Parity, max abs", value=f"{parity.max_abs:.1e}", note=f"accepted {parity.tolerance:.1e}"),
        Headline(label="Latency, p50", value=f"{outcome.latency.p50_ms:.2f} ms", note="ONNX Runtime, 1 thread"),
        Headline(label="Parameters", value=count(outcome.contract.params)),
        Headline(label="MAdds", value=count(outcome.contract.madds), note="convolution form, all taps"),
        Headline(label="Whole path", value=f"{outcome.seconds:.0f} s"),
    )


def _pictures(outcome: Outcome) -> tuple[Picture, ...]:
    samples, found = outcome.samples, outcome.onnxruntime
    bars = [(f"{engine}, {t.threads} thr.", t) for engine, timings in outcome.timings.items() for t in timings]
    wrong = sum(truth != said for truth, said in zip(samples.truths, samples.predictions, strict=True))
    return (
        Picture(
            title="Training",
            figure=plots.training_curve(outcome.curve),
            alt=f"Loss and top-1 over {outcome.epochs} epochs, and the learning rate.",
            caption="Validation uses the averaged weights, which are the ones that are saved.",
        ),
        Picture(
            title="Confusion matrix",
            figure=plots.confusion_matrix(found.confusion, outcome.spec.labels),
            alt=f"{found.images - wrong} of {found.images} images lie on the diagonal.",
            caption="Held-out digits on ONNX Runtime; rows are true classes.",
        ),
        Picture(
            title="Sample predictions",
            figure=plots.sample_predictions(
                samples.images,
                truths=samples.truths,
                predictions=samples.predictions,
                confidences=samples.confidences,
            ),
            alt=f"Test digits with predictions, of which {wrong} in all are wrong.",
            caption="Mistakes first; the percentage is the model's own confidence.",
        ),
        Picture(
            title="Latency",
            figure=plots.latency_bars(
                [name for name, _ in bars],
                p50_ms=[timing.p50_ms for _, timing in bars],
                p95_ms=[timing.p95_ms for _, timing in bars],
            ),
            alt="Median and 95th percentile of one inference by engine and threads.",
            caption="One image at a time, after warm-up.",
        ),
    )


def _tables(outcome: Outcome) -> tuple[Table, ...]:
    accuracy = Table(
        title="Accuracy",
        columns=("Engine", "Top-1, %", "Top-5, %", "Images"),
        rows=tuple(
            (engine, f"{found.top1:.2f}", f"{found.top5:.2f}", str(found.images))
            for engine, found in zip(outcome.timings, (outcome.torch, outcome.onnxruntime), strict=True)
        ),
        caption="The same images, preprocessed by the same description.",
    )
    latency = Table(
        title="Latency of one image and throughput",
        columns=("Engine", "Threads", "p50, ms", "p95, ms", "Images/s"),
        rows=tuple(
            (
                engine,
                str(t.threads),
                f"{t.p50_ms:.2f}",
                f"{t.p95_ms:.2f}",
                f"{t.images_per_second:.0f}",
            )
            for engine, timings in outcome.timings.items()
            for t in timings
        ),
        caption="Throughput is that of single-thread workers side by side.",
    )
    return accuracy, latency


def _card(outcome: Outcome) -> ModelCard:
    contract, preprocessing = outcome.contract, outcome.spec.preprocessing
    height, width = preprocessing.size
    return ModelCard(
        facts={
            "Model": outcome.spec.model,
            "Input": " x ".join(map(str, contract.input.shape)) + f" {contract.input.dtype}",
            "Classes": str(len(outcome.spec.labels)),
            "Parameters": f"{contract.params:,}",
            "MAdds": f"{contract.madds:,}",
            "Artefact": f"bundle/model.onnx, {outcome.bundle_bytes / 1e6:.2f} MB, opset {contract.opset}",
            "Peak memory": f"{contract.peak_memory_bytes / 1e6:.0f} MB for one inference",
        },
        intended_use=(
            "A proof that the whole path works on this machine. It has seen only centred 8x8 scans of digits, "
            "so it is not meant to read digits in photographs."
        ),
        data="scikit-learn's 1,797 handwritten digits (UCI, 8x8), upscaled; a fixed stratified split holds out 20 %.",
        training=f"AdamW with cosine schedule, averaged weights, {outcome.epochs} epochs, seed {outcome.seed}.",
        preprocessing=(
            f"Resize to cover {height}x{width} ({preprocessing.interpolation}), centre crop, "
            f"{preprocessing.channel_order.upper()} / 255, mean {preprocessing.mean}, std {preprocessing.std}."
        ),
        limits="Whatever is shown, one of ten digits is answered. Robustness and calibration were not measured.",
        licence="Code Apache-2.0; the digits are CC BY 4.0.",
    )


def _provenance(outcome: Outcome) -> Provenance:
    machine = describe()
    versions = ", ".join(f"{package} {version}" for package, version in machine.versions.items())
    return Provenance(
        facts={
            "Machine": f"{machine.cpu}, {machine.usable_cores} cores, {machine.memory_bytes / 2**30:.0f} GB",
            "System": f"{machine.system}, Python {machine.python}",
            "Versions": f"parckit {__version__}, {versions}",
            "Commit": machine.commit or "installed package",
            "Seed": str(outcome.seed),
            "Date": machine.date,
        },
        commands=outcome.commands,
    )
