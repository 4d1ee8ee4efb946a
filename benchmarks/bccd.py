"""Train three detectors on BCCD for the same time, test them, and record the results.

    OMP_NUM_THREADS=1 python benchmarks/bccd.py --out DIR [--ship]

The data are ../shared/data/bccd.zip: 205 pictures of blood cells for training, 87 that choose the best epoch, 72 for
the test. `tinydet` and `ssd` are trained by `parckit train` from parckit's CIFAR-10 weights. torchvision's
`ssdlite320_mobilenet_v3_large` is trained from fresh weights by the loop below, with the same pictures, changes of
pictures and averaging of weights, and for as many seconds of one core as `tinydet`.
A training that is finished in DIR is not repeated; one that was cut off goes on. pycocotools scores the boxes of
`tinydet` too. `--ship` puts the weights of `tinydet` into the package, with matrices and kernels in half precision.
"""

import argparse
import copy
import csv
import hashlib
import json
import math
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from cifar10 import save_half
from exported import describe_bundle, scalars
from parckit.contract import Preprocessing
from parckit.contract.shipped import WEIGHTS
from parckit.data import Batch, IndexedImages, SceneAugmentSettings, Split, image_loader
from parckit.deploy import export
from parckit.measure.detection import DetectionMetric
from parckit.measure.environment import describe
from parckit.measure.evaluation import Evaluation, EvaluationData, Score, evaluate, evaluate_session, score
from parckit.measure.evaluators import evaluator_of
from parckit.measure.records import write_record
from parckit.processing import BoxPrediction
from parckit.runtimes import open_session
from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.datamodule import DataSettings, TrainingData
from parckit.tasks.detect import Detect
from trainings import train

RECIPE = "detect/finetune_small_tinydet"
DATA = Path("../shared/data/bccd.zip")
RECORD = Path(__file__).parent / "records" / "bccd.json"
SHIPPED = "tinydet_parcnet_xs.bccd"
SEED = 0
SSD_KWARGS = {"img_size": 64, "stem_stride": 2, "output_stride": 32, "block_drop_rate": 0.0}
OPTIONS: dict[str, list[str]] = {
    # The pictures have 640x480 pixels. Cells have no up and down.
    "tinydet": ["--data.preprocessing.size", "[240, 320]"],
    # SSD has a size of its own, and needs a map of stride 32 from the backbone.
    "ssd": [
        *("--model.head", "ssd", "--model.head_kwargs", "{}", "--model.kwargs", json.dumps(SSD_KWARGS)),
        *("--model.optimizer.lr", "1e-3", "--trainer.gradient_clip_val", "10"),
        *("--data.preprocessing.fit", "stretch", "--trainer.max_epochs", "55"),
    ],
}
"""Network -> options of `parckit train` beside those of the recipe."""
COMMON = ["--task.augment.flip_vertical", "0.5", "--data.workers", "0"]
SSDLITE_SIZE = (320, 320)
RATE, WARMUP, BATCH, CLIP, DECAY = 1e-3, 0.05, 16, 10.0, 0.995
"""Of ssdlite: highest learning rate, its warm-up as a share of the time, images per step, largest norm of the gradient,
and decay of the averaged weights."""


def main() -> None:
    """Run what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="data, checkpoints and intermediate results")
    parser.add_argument("--ship", action="store_true", help="put the weights of tinydet into the package")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    source = out / "data"
    if not source.is_dir():
        with zipfile.ZipFile(DATA) as archive:
            archive.extractall(source)
    values: dict[str, Any] = {"recipe": RECIPE}
    for name, of_network in OPTIONS.items():
        options = ["--data", str(source), *of_network, *COMMON]
        values[name] = train(RECIPE, out / name, options, seed=SEED) | test(name, source, out)
    if not (out / "ssdlite.json").is_file():
        train_ssdlite(source, out, seconds=values["tinydet"]["train_seconds"])
    values["ssdlite320_mobilenet_v3_large"] = json.loads((out / "ssdlite.json").read_text(encoding="utf-8"))
    half = out / f"{SHIPPED}.safetensors"
    save_half(out / "tinydet" / "best.ckpt", half)
    evaluation, values["tinydet"]["pycocotools"] = score_with_pycocotools(half, source)
    values["tinydet"]["test_half"] = scalars(evaluation)
    values["tinydet"]["half_bytes"] = half.stat().st_size
    values["tinydet"]["half_sha256"] = hashlib.sha256(half.read_bytes()).hexdigest()
    print(json.dumps(values, indent=2))
    write_record(RECORD, "bccd", values, seed=SEED, threads=torch.get_num_threads())
    if arguments.ship:  # the record is written: its commit is the one that was measured
        shutil.copy(half, WEIGHTS)


def test(name: str, source: Path, out: Path) -> dict[str, Any]:
    """Export a network, and return its results on the test pictures with two engines."""
    checkpoint, bundle = out / name / "best.ckpt", out / f"{name}_bundle"
    contract = export(checkpoint, bundle)
    data = EvaluationData(source=str(source), split="test")
    torch_result, engine_result = (evaluate(path, data) for path in (checkpoint, bundle))
    return {
        "test_torch": scalars(torch_result),
        "test_onnxruntime": scalars(engine_result),
        "test_class_ap_50": class_ap_50(torch_result.score.tables, torch_result.labels),
        "engines": [torch_result.engine, engine_result.engine],
        **describe_bundle(contract, bundle),
    }


def class_ap_50(tables: Mapping[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Return the average precision of every class at an overlap of 0.5, percent."""
    return {label: round(float(value), 2) for label, value in zip(labels, tables["class_ap_50"], strict=True)}


def score_with_pycocotools(model: Path, source: Path) -> tuple[Evaluation, dict[str, dict[str, float]]]:
    """Evaluate a network, and let pycocotools score the same boxes against the data's own COCO file.

    The official splits leak: some test pictures show the same part of a slide as a picture of train. The second result
    is without these.
    """
    truth = COCO(source / "annotations" / "instances_test.json")
    session = open_session(model)
    categories = {category["name"]: category["id"] for category in truth.loadCats(truth.getCatIds())}
    answers: list[BoxPrediction] = []
    data = EvaluationData(source=str(source), split="test")
    evaluation = evaluate_session(session, data, watch=lambda _, predictions: answers.extend(predictions))
    table = data.open(session).table
    pictures = {Path(image["file_name"]).name: image["id"] for image in truth.loadImgs(truth.getImgIds())}
    results: list[dict[str, Any]] = []
    for index, answer in enumerate(answers):
        picture = pictures[Path(table.name(index)).name]
        columns = (answer.boxes.tolist(), answer.scores.tolist(), answer.labels.tolist())
        for (left, top, right, bottom), confidence, label in zip(*columns, strict=True):
            results.append(
                {
                    "image_id": picture,
                    "category_id": categories[answer.names[label]],
                    "bbox": [left, top, right - left, bottom - top],
                    "score": confidence,
                }
            )
    leaked = leaked_pictures(source)
    honest = [number for name, number in pictures.items() if Path(name).stem not in leaked]
    scores = {
        "all": coco_scores(truth, results, pictures=[*pictures.values()]),
        f"without_{len(pictures) - len(honest)}_pictures_that_overlap_one_of_train": coco_scores(
            truth, results, pictures=honest
        ),
    }
    return evaluation, scores


def coco_scores(truth: COCO, results: list[dict[str, Any]], *, pictures: Sequence[int]) -> dict[str, float]:
    """Return what pycocotools computes for some of the pictures, percent."""
    scorer = COCOeval(truth, truth.loadRes(results), "bbox")  # pyright: ignore[reportArgumentType] - a list is fine
    scorer.params.imgIds = list(pictures)
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return dict(zip(("map", "map_50", "map_75"), (round(100 * float(x), 2) for x in scorer.stats), strict=False))


def leaked_pictures(source: Path) -> set[str]:
    """Return the names of the test pictures that show the same part of a slide as a picture of train."""
    with (source / "same_field_pairs.tsv").open(encoding="utf-8", newline="") as file:
        pairs = [
            ((row["image_a"], row["split_a"]), (row["image_b"], row["split_b"]))
            for row in csv.DictReader(file, delimiter="\t")
        ]
    both = [*pairs, *((second, first) for first, second in pairs)]
    return {name for (name, split), (_, other) in both if (split, other) == ("test", "train")}


def train_ssdlite(source: Path, out: Path, *, seconds: float) -> None:
    """Train torchvision's small SSD from fresh weights for a time, and test its best epoch."""
    keep_freed_memory()
    torch.manual_seed(SEED)
    whole = Preprocessing(size=SSDLITE_SIZE, fit="stretch", mean=(0, 0, 0), std=(1, 1, 1))  # ssdlite normalises itself
    augment = SceneAugmentSettings(zoom_out=0.3, colour=0.3, flip_vertical=0.5)
    settings = DataSettings(source=str(source), batch_size=BATCH, workers=0, preprocessing=whole)
    data = TrainingData(settings, task=Detect(augment=augment), seed=SEED)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(data.labels) + 1)
    network.to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05, fused=True)
    best, best_map, epochs, begun = average, -1.0, 0, time.process_time()
    while time.process_time() - begun < seconds:
        for batch in data.train_dataloader():
            share = min(1.0, (time.process_time() - begun) / seconds)
            factor = share / WARMUP if share < WARMUP else (1 + math.cos(math.pi * share)) / 2
            for group in optimizer.param_groups:
                group["lr"] = RATE * factor
            targets = [{"boxes": scene.objects.boxes, "labels": scene.objects.labels + 1} for scene in batch.targets]
            images = batch.images.contiguous(memory_format=torch.channels_last)
            loss = torch.stack([*network.train()(list(images), targets).values()]).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            average.update_parameters(network)
        epochs += 1
        value = score_ssdlite(average, source, "val", whole).scalars["map"]
        if value > best_map:
            best, best_map = copy.deepcopy(average), value
    tested = score_ssdlite(best, source, "test", whole)
    result = {
        "train_commit": describe().commit,
        "train_cpu_seconds": round(time.process_time() - begun),
        "epochs": epochs,
        "test_torch": {name: round(value, 2) for name, value in tested.scalars.items()},
        "test_class_ap_50": class_ap_50(tested.tables, data.labels),
        "params": sum(parameter.numel() for parameter in network.parameters()),
    }
    (out / "ssdlite.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def score_ssdlite(network: nn.Module, source: Path, split: Split, preprocessing: Preprocessing) -> Score:
    """Evaluate ssdlite on a split."""
    network.eval()
    evaluator = evaluator_of("detect")
    table = evaluator.open_table(str(source), split=split)
    images = IndexedImages(table, transform=evaluator.transform(preprocessing))

    def predict(batch: Batch) -> list[BoxPrediction]:
        return [
            BoxPrediction(
                boxes=geometry.boxes_to_picture(answer["boxes"].numpy()),
                scores=answer["scores"].numpy(),
                labels=answer["labels"].numpy() - 1,
                names=tuple(table.labels),
            )
            for answer, geometry in zip(network(list(batch.images)), batch.geometries, strict=True)
        ]

    batches = image_loader(images, batch_size=BATCH, workers=0, collate=evaluator.collate)
    return score(predict, batches, DetectionMetric(len(table.labels)))


if __name__ == "__main__":
    main()
