"""Measure what INT8 costs a detector and a segmenter: float32, ONNX Runtime's own tool, and `parckit quantize`.

    OMP_NUM_THREADS=1 python benchmarks/int8_tasks.py --work FOLDER [--only NETWORK]

The networks are those that ship with parckit, on the test pictures of ../shared/data/bccd.zip and of digit_scenes; 300
pictures of `train` calibrate (of BCCD's 205, 164 do). A run that was stopped goes on where it ended.

All networks answer the same pictures, so the difference of two is known better than each of them. Its interval of 95 %
is a paired bootstrap: pictures are drawn with replacement, and both networks get their score on every draw. For boxes,
faster-coco-eval compares boxes and objects picture by picture, and computes the average precision of every draw from
these comparisons. For masks, the pixels of the drawn pictures are counted.
"""

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core import COCOeval_faster
from numpy.typing import NDArray

from int8_accuracy import SAMPLES, SEED, ours, plain_variants
from parckit.contract import read_contract
from parckit.data import Batch, Scene
from parckit.deploy import export
from parckit.deploy.quantize import QuantizeSettings, quantize, read_scheme
from parckit.deploy.quantize.pictures import open_table
from parckit.deploy.quantize.scheme import SCHEME_FILE
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.box_pairs import objects_in_picture
from parckit.measure.evaluation import EvaluationData, evaluate_session
from parckit.measure.records import write_record
from parckit.measure.segmentation import SegmentationMetric
from parckit.processing import BoxPrediction, MaskPrediction
from parckit.runtimes import open_session

RECORD = Path(__file__).parent / "records" / "int8_tasks.json"
SHARED = Path("../shared/data")
NETWORKS = {
    "tinydet_parcnet_xs.bccd": ("bccd", "map", "mAP"),
    "upernet_parc_resnet10t.digit_scenes": ("digit_scenes", "miou", "mIoU"),
}
"""Weights of the package -> data, the number that counts, and what tables call it."""
PLAIN = ("minmax-tensor", "minmax-channel")
VARIANTS: Mapping[str, QuantizeSettings] = {
    "parckit, not equalized": ours(seconds=0, equalize=False),
    "parckit": ours(seconds=0),
    "parckit max_drop": ours(seconds=0, max_drop=0.5),
}
"""How it is called in tables -> settings. A drop is measured on the split `val`."""
DRAWS = 1_000
"""Bootstrap samples of an interval."""
ScoreOf = Callable[[NDArray[np.intp]], float]
"""Returns the score on a draw of pictures, percent; a picture may be drawn several times."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """How good a network is.

    Attributes:
        score: main metric of the task, percent.
        draws: the same for every draw of pictures.
        images: number of pictures.
        agreement: share of answers that it has in common with the float network, percent.
        sqnr: ratio of the float network's outputs to their error, decibels.
        bytes: size of the file.
    """

    score: float
    draws: NDArray[np.float64]
    images: int
    agreement: float
    sqnr: float
    bytes: int


def score_of_boxes(answers: Sequence[BoxPrediction], scenes: Sequence[Scene], *, classes: int) -> ScoreOf:
    """Compare boxes and objects picture by picture; return the average precision of draws of the pictures."""
    truth, results = COCO(), []
    objects = [objects_in_picture(scene) for scene in scenes]
    annotations = [
        {"image_id": number, "category_id": int(label), "bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)}
        for number, entry in enumerate(objects)
        for box, label, crowd in zip(sides(entry.boxes.numpy()), entry.labels, entry.crowd, strict=True)
    ]
    truth.dataset = {
        "images": [{"id": number} for number in range(len(scenes))],
        "annotations": [{**annotation, "id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [{"id": label} for label in range(classes)],
    }
    truth.createIndex()
    for number, answer in enumerate(answers):
        results += [
            {"image_id": number, "category_id": int(label), "bbox": box, "score": float(score)}
            for box, label, score in zip(sides(answer.boxes), answer.labels, answer.scores, strict=True)
        ]
    scorer = COCOeval_faster(truth, truth.loadRes(results), "bbox", separate_eval=True)
    # The average precision over objects of all sizes needs nothing else.
    scorer.params.areaRng, scorer.params.areaRngLbl, scorer.params.maxDets = [[0, 1e10]], ["all"], [100]
    scorer.evaluate()
    # One entry for every class and picture.
    compared = np.array(scorer._evalImgs_cpp, dtype=object).reshape(classes, len(scenes))  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]

    def score(drawn: NDArray[np.intp]) -> float:
        scorer._evalImgs_cpp = compared[:, drawn].reshape(-1).tolist()
        scorer.accumulate()
        precision = np.asarray(scorer.eval["precision"])
        return 100 * float(precision[precision >= 0].mean())

    return score


def sides(boxes: NDArray[np.floating]) -> list[list[float]]:
    """Return boxes as COCO writes them: left, top, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(float).tolist()


def score_of_masks(answers: Sequence[MaskPrediction], targets: Sequence[Any], *, classes: int) -> ScoreOf:
    """Count the pixels of every picture; return the mean intersection over union of draws of the pictures."""
    counts: list[NDArray[np.int64]] = []
    for answer, target in zip(answers, targets, strict=True):
        metric = SegmentationMetric(classes)
        metric.update([answer], [target])
        counts.append(np.asarray(metric.tables()["confusion"]))
    by_picture = np.stack(counts)

    def score(drawn: NDArray[np.intp]) -> float:
        confusion = by_picture[drawn].sum(axis=0)
        right, pixels = confusion.diagonal(), confusion.sum(axis=1)
        union = pixels + confusion.sum(axis=0)[:classes] - right
        return 100 * float((right[union > 0] / union[union > 0]).mean())

    return score


def answer_all(bundle: Path, name: str, data: EvaluationData, *, yardstick: Yardstick) -> Answers:
    """Evaluate an artefact."""
    session = open_session(bundle, artefact=name)
    answers: list[Any] = []
    targets: list[Any] = []

    def watch(batch: Batch, decoded: Sequence[object]) -> None:
        answers.extend(decoded)
        targets.extend(batch.targets)

    score = next(iter(evaluate_session(session, data, watch=watch).score.scalars.values()))
    by_task = {"detect": score_of_boxes, "segment": score_of_masks}
    score_of = by_task[session.spec.task](answers, targets, classes=len(session.spec.labels))
    again = score_of(np.arange(len(answers)))
    if abs(again - score) > 1e-3:
        raise RuntimeError(f"{name}: the metric says {score}, the bootstrap {again} for the same pictures")
    drawn = np.random.default_rng(SEED).integers(0, len(answers), (DRAWS, len(answers)))
    measure = yardstick.measure(session)
    file = bundle / read_contract(bundle).artefact(name).main_file
    return Answers(
        score=score,
        draws=np.array([score_of(pictures) for pictures in drawn]),
        images=len(answers),
        agreement=100 * (measure.agreement or 0.0),
        sqnr=measure.sqnr,
        bytes=file.stat().st_size,
    )


def compare(reference: Answers, other: Answers) -> dict[str, object]:
    """Return the score of a network and the difference from another one, with the interval of 95 %."""
    low, high = np.quantile(other.draws - reference.draws, [0.025, 0.975])
    return {
        "score": round(other.score, 3),
        "difference": round(other.score - reference.score, 3),
        "interval_95": [round(float(low), 3), round(float(high), 3)],
        "agreement": round(other.agreement, 3),
        "sqnr": round(other.sqnr, 2),
        "bytes": other.bytes,
        "share_of_bytes": round(other.bytes / reference.bytes, 4),
    }


def our_variant(bundle: Path, source: str, settings: QuantizeSettings) -> dict[str, object]:
    """Quantize a bundle; return how long it took, and how many nodes have 8 bits and how many were raised."""
    begun = time.process_time()
    eval_data = None if settings.max_drop is None else EvaluationData(source=source, split="val")
    contract = quantize(bundle, EvaluationData(source=source, split="train"), eval_data=eval_data, settings=settings)
    scheme = read_scheme((bundle / contract.artefact("onnx-int8").main_file).parent / SCHEME_FILE)
    return {
        "calibrator": settings.method,
        "nodes": len(scheme.bits),
        "raised": sum(bits is None for bits in scheme.bits.values()),
        "cpu_seconds": round(time.process_time() - begun),
    }


def missing_results(name: str, source: str, work: Path) -> Iterator[str]:
    """Measure the variants of a network that are still to do; yield the name of each."""
    bundle, done = work / name, work / f"{name}.json"
    results: dict[str, object] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    if {"float32", *PLAIN, *VARIANTS} <= results.keys():
        return
    if not bundle.is_dir():
        export(name, bundle)
    data = EvaluationData(source=source, split="test")
    session = open_session(bundle, artefact="onnx-fp32")
    yardstick = Yardstick(session, open_table(data, session.spec)[0], has_labels=False)
    reference = answer_all(bundle, "onnx-fp32", data, yardstick=yardstick)
    if any(variant not in results for variant in PLAIN):
        with tempfile.TemporaryDirectory() as scratch:
            list(plain_variants(bundle, EvaluationData(source=source, split="train"), work=Path(scratch)))
    for variant in ("float32", *PLAIN, *VARIANTS):
        if variant in results:
            continue
        told = our_variant(bundle, source, VARIANTS[variant]) if variant in VARIANTS else {}
        artefact = {"float32": "onnx-fp32"}.get(variant, "onnx-int8" if variant in VARIANTS else variant)
        answers = reference if variant == "float32" else answer_all(bundle, artefact, data, yardstick=yardstick)
        results[variant] = {**compare(reference, answers), "images": answers.images, **told}
        done.write_text(json.dumps(results, indent=2), encoding="utf-8")
        yield f"{name} {variant}: {results[variant]}"


def table(values: Mapping[str, Any]) -> str:
    """Return a record's results as docs/int8.md shows them."""
    heads = ("network", "how", "score", "difference from float32 (95 %)", "same answers %", "nodes raised", "size")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for network, results in values["networks"].items():
        for how, result in results.items():
            low, high = result["interval_95"]
            change = "" if how == "float32" else f"{result['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
            score = f"{NETWORKS[network][2]} {result['score']:.2f}"
            raised = f"{result['raised']} of {result['nodes']}" if "raised" in result else ""
            share = f"{result['share_of_bytes']:.2f}"
            lines.append(f"| {network} | {how} | {score} | {change} | {result['agreement']:.1f} | {raised} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the bundles and results")
    parser.add_argument("--only", choices=[*NETWORKS], help="measure this network only, and record nothing")
    arguments = parser.parse_args()
    work: Path = arguments.work
    if not (work / "bccd").is_dir():
        with zipfile.ZipFile(SHARED / "bccd.zip") as archive:
            archive.extractall(work / "bccd")
    sources = {name: str(work / "bccd") if data == "bccd" else data for name, (data, _, _) in NETWORKS.items()}
    for name in NETWORKS if arguments.only is None else [arguments.only]:
        for line in missing_results(name, sources[name], work):
            print(line, flush=True)
    if arguments.only is not None:
        return
    networks = {name: json.loads((work / f"{name}.json").read_text(encoding="utf-8")) for name in NETWORKS}
    values = {"samples": SAMPLES, "draws": DRAWS, "engine": "onnxruntime", "networks": networks}
    write_record(RECORD, "int8_tasks", values, seed=SEED, threads=None)


if __name__ == "__main__":
    main()
