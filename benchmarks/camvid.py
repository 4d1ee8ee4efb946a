"""Train segmentation networks on CamVid, test them, and record the results.

    OMP_NUM_THREADS=1 python benchmarks/camvid.py --out DIR [--only NAME]

The data are ../shared/data/camvid.zip: 367 pictures of streets for training, 101 that choose the best epoch, 233 for
the test, all of 360x480 pixels, with 11 classes. Unlabelled pixels do not count. All networks are trained by `parckit
train` with the recipe `segment/finetune_small_upernet`, from fresh weights; only backbone and head differ.
A training that is finished in DIR is not repeated; one that was cut off goes on. The answers for the test pictures are
written as PNG files, and torchmetrics and a plain count in numpy compute the mean IoU of these files, too.
"""

import argparse
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchmetrics.classification import MulticlassJaccardIndex

from exported import describe_bundle, scalars
from parckit.deploy import export
from parckit.measure.evaluation import Evaluation, EvaluationData, evaluate, evaluate_session
from parckit.measure.records import write_record
from parckit.processing import IGNORED
from parckit.runtimes import open_session
from trainings import train

RECIPE = "segment/finetune_small_upernet"
DATA = Path("../shared/data/camvid.zip")
RECORD = Path(__file__).parent / "records" / "camvid.json"
SEED = 0
DEEPLAB = {"width": 128, "auxiliary": True}
OPTIONS: Mapping[str, list[str]] = {
    # Without AVX-512, the gradients of 3x3 convolutions are much faster with channels outermost.
    "upernet_parc_resnet10t": ["--model.channels_last", "false"],
    "deeplabv3_mobilenetv2_100": [
        *("--model.name", "mobilenetv2_100", "--model.kwargs", "{}"),
        *("--model.head", "deeplabv3", "--model.head_kwargs", json.dumps(DEEPLAB)),
    ],
}
"""Network -> options of `parckit train` beside those of the recipe."""
COMMON = ["--data.workers", "0", "--threads", "1", "--trainer.max_epochs", "16"]
"""One core trains for about an hour per network. The 40 epochs of the recipe take two and a half."""


def main() -> None:
    """Run what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="data, checkpoints and answers")
    parser.add_argument("--only", choices=[*OPTIONS], help="train and test this network only")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    source = out / "data"
    if not source.is_dir():
        with zipfile.ZipFile(DATA) as archive:
            archive.extractall(source)
    names = [*OPTIONS] if arguments.only is None else [arguments.only]
    for name in names:
        options = ["--data", str(source), *OPTIONS[name], *COMMON]
        result = train(RECIPE, out / name, options, seed=SEED) | test(name, source, out)
        (out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    tested = [name for name in OPTIONS if (out / f"{name}.json").is_file()]
    values = {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in tested}
    print(json.dumps(values, indent=2))
    write_record(RECORD, "camvid", {"recipe": RECIPE, **values}, seed=SEED, threads=torch.get_num_threads())


def test(name: str, source: Path, out: Path) -> dict[str, Any]:
    """Export a network, and return its results on the test pictures with two engines."""
    checkpoint, bundle = out / name / "best.ckpt", out / f"{name}_bundle"
    contract = export(checkpoint, bundle)
    data = EvaluationData(source=str(source), split="test", batch_size=8)
    torch_result, foreign = evaluate_files(checkpoint, data, folder=out / f"{name}_masks")
    engine_result = evaluate(bundle, data)
    rates = zip(torch_result.labels, torch_result.score.tables["class_iou"], strict=True)
    return {
        "test_torch": scalars(torch_result),
        "test_onnxruntime": scalars(engine_result),
        "test_class_iou": {label: round(float(value), 2) for label, value in rates},
        "miou_of_saved_masks": foreign,
        "engines": [torch_result.engine, engine_result.engine],
        **describe_bundle(contract, bundle),
    }


def evaluate_files(checkpoint: Path, data: EvaluationData, *, folder: Path) -> tuple[Evaluation, dict[str, float]]:
    """Evaluate a network, write its answers as PNG files, and let others score the files."""
    folder.mkdir(exist_ok=True)
    session = open_session(checkpoint)
    answers: list[Any] = []
    evaluation = evaluate_session(session, data, watch=lambda _, predictions: answers.extend(predictions))
    targets = data.open(session).table.targets
    index = MulticlassJaccardIndex(len(evaluation.labels), ignore_index=IGNORED)
    pixels = np.zeros((3, len(evaluation.labels)), np.int64)  # in both, in the truth, in the answer
    for number, answer in enumerate(answers):
        path = folder / f"{number:04}.png"
        answer.to_image().save(path)
        mask, truth = np.array(Image.open(path)), np.asarray(targets[number])
        index.update(torch.from_numpy(mask), torch.from_numpy(truth))
        known = truth != IGNORED
        for label in range(len(evaluation.labels)):
            of_truth, of_answer = (truth == label) & known, (mask == label) & known
            pixels[:, label] += [(of_truth & of_answer).sum(), of_truth.sum(), of_answer.sum()]
    shared, true, answered = pixels
    plain = float((shared / (true + answered - shared)).mean())
    return evaluation, {"torchmetrics": round(100 * float(index.compute()), 2), "numpy": round(100 * plain, 2)}


if __name__ == "__main__":
    main()
