"""Quantization-aware training of the shipped ParC-Net-XS with weights of few bits, on a part of CIFAR-10.

    OMP_NUM_THREADS=1 python benchmarks/qat.py --out DIR [--bits 3] [--steps 60]

The shipped weights get fake quantizers, which are calibrated on 256 training images. Without a training, this is plain
post-training quantization: the scale of every channel of weights has the least squared error, and the range of every
activation is the mean of its ends. Then `parckit train --qat` trains for some steps, with the float network as its
teacher. The three networks, and the INT8 artefact in ONNX Runtime, see the same pictures: the first ones of the test
split. It takes 10 minutes of one core.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parckit import train
from parckit.contract import to_plain
from parckit.deploy import export
from parckit.measure.evaluation_data import EvaluationData
from parckit.measure.records import write_record
from parckit.networks import open_checkpoint, save_weights
from parckit.runtimes import open_session

RECIPE, WEIGHTS = "classify/cifar10_parcnet_xs", "parcnet_xs.cifar10"
DATA = "../shared/data/cifar10"
RECORD = Path(__file__).parent / "records" / "qat.json"
SEED, BATCH, LR = 0, 64, 3e-4
TEST_BATCHES, TEST_BATCH = 10, 100


def main() -> None:
    """Train, evaluate and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the bundle")
    parser.add_argument("--bits", type=int, default=3, help="of weights")
    parser.add_argument("--steps", type=int, default=60, help="of the training")
    parser.add_argument("--data", default=DATA, help="CIFAR-10")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    # A learning rate that changes nothing leaves the calibrated network.
    calibrated = run(out / "ptq", data=arguments.data, bits=arguments.bits, steps=1, lr=1e-12)
    trained = run(out / "qat", data=arguments.data, bits=arguments.bits, steps=arguments.steps, lr=LR)
    seconds = time.process_time() - began
    weights = out / "qat.safetensors"
    save_weights(*open_checkpoint(trained), weights)
    contract = export(weights, out / "bundle")
    logits: dict[str, NDArray[np.float32]] = {}
    for name, path, artefact in (
        ("float", Path(WEIGHTS), None),
        ("ptq", calibrated, None),
        ("qat", trained, None),
        ("qat_int8", out / "bundle", "onnx-int8"),
        ("qat_fp32", out / "bundle", "onnx-fp32"),
    ):
        logits[name], labels = answers(path, arguments.data, artefact=artefact)
    classes = {name: numbers.argmax(1) for name, numbers in logits.items()}
    values = {
        "weights": WEIGHTS,
        "weight_bits": arguments.bits,
        "activation_bits": 8,
        "steps": arguments.steps,
        "batch_size": BATCH,
        "lr": LR,
        "training_images": arguments.steps * BATCH,
        "training_cpu_seconds": seconds,
        "test_images": len(labels),
        "top1": {name: 100 * float((answer == labels).mean()) for name, answer in classes.items()},
        "int8_equals_qat": float((classes["qat_int8"] == classes["qat"]).mean()),
        "int8_max_abs": float(np.abs(logits["qat_int8"] - logits["qat"]).max()),
        "qat_largest_logit": float(np.abs(logits["qat"]).max()),
        "bytes": {
            artefact.name: (out / "bundle" / artefact.main_file).stat().st_size for artefact in contract.artefacts
        },
        "checks": {artefact.name: to_plain(artefact.checks) for artefact in contract.artefacts},
    }
    write_record(RECORD, "qat", values, seed=SEED, threads=1)
    print(values["top1"], values["int8_equals_qat"])


def run(out: Path, *, data: str, bits: int, steps: int, lr: float) -> Path:
    """Train from the shipped weights; return the last checkpoint."""
    return train(
        RECIPE,
        out=out,
        overwrite=True,
        seed=SEED,
        threads=1,
        ema=None,
        qat={"weight_bits": bits},
        task={
            "label_smoothing": 0.0,
            "augment": {"crop": "pad", "padding": 4, "flip": 0.5},
            "distillation": {"teacher": WEIGHTS},
        },
        model={
            "weights": WEIGHTS,
            "optimizer": {"name": "adamw", "lr": lr, "weight_decay": 0.0, "options": {}},
            "schedule": {"min_lr": lr / 100, "warmup": 0.05},
        },
        data={"source": data, "batch_size": BATCH, "workers": 0},
        trainer={
            "max_epochs": 1,
            "max_steps": steps,
            "limit_train_batches": steps,
            "limit_val_batches": 1,
            "precision": "32-true",
        },
    ).last


def answers(path: Path, source: str, *, artefact: str | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a network's logits for the first test images, and the classes of these images."""
    session = open_session(path, artefact=artefact, threads=1)
    data = EvaluationData(source=source, split="test", batch_size=TEST_BATCH)
    batches = [*islice(data.batches(data.open(session), session), TEST_BATCHES)]
    logits: list[NDArray[np.generic]] = []
    for batch in batches:
        images = batch.images.numpy()
        step = session.input.batch_size or len(images)
        logits += [session(images[start : start + step])[0] for start in range(0, len(images), step)]
    return np.concatenate(logits).astype(np.float32), np.concatenate([np.asarray(batch.targets) for batch in batches])


if __name__ == "__main__":
    main()
