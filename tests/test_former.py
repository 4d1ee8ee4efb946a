"""What parckit 0.1.0 wrote (tests/former): a bundle, a recipe, and a training that was ended within an epoch."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from parckit.contract import LAST, read_contract
from parckit.networks import open_checkpoint
from parckit.runtimes import load
from parckit.tasks import train
from repository import ROOT

FORMER = ROOT / "tests" / "former"
FACTS = json.loads((FORMER / "facts.json").read_text(encoding="utf-8"))


def test_the_bundle_opens_and_answers():
    contract = read_contract(FORMER / "bundle")
    (artefact,) = contract.artefacts
    assert (contract.spec.task, contract.spec.backbone, artefact.main_file) == (
        "classify",
        "test_parcnet",
        "model.onnx",
    )
    assert artefact.checks[0].figures["max_abs"] < artefact.checks[0].figures["tolerance"]
    answer = load(FORMER / "bundle")(np.zeros((8, 8), np.uint8))
    assert {score.label for score in answer.ranking} <= set("0123456789")


def test_a_bundle_of_schema_2_opens_and_answers_as_its_checkpoint():
    """0.2.0 exported it. A later version must read it as it is."""
    (artefact,) = read_contract(FORMER / "bundle_schema2").artefacts
    assert (artefact.main_file, artefact.checks[0].passed) == ("onnx-fp32/model.onnx", True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    answer, expected = (load(FORMER / name)(pixels) for name in ("bundle_schema2", "last.ckpt"))
    assert [score.label for score in answer.ranking] == [score.label for score in expected.ranking]
    # Norms are folded, in float32.
    assert answer.probability == pytest.approx(expected.probability, rel=1e-4)


def test_the_checkpoint_opens():
    _, spec = open_checkpoint(FORMER / "last.ckpt")
    assert spec.labels == tuple("0123456789")
    assert spec.preprocessing.fit == "cover"


class Recorder(Callback):
    """Keep what the steps of a training get."""

    def __init__(self) -> None:
        self.steps: list[dict[str, object]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.steps.append(
            {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "batch_idx": batch_idx,
                "images": hashlib.sha256(batch.images.numpy().tobytes()).hexdigest(),
                "targets": batch.targets.tolist(),
            }
        )

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        # Our module sets the rate behind the callbacks of a batch's start.
        self.steps[-1]["lr_used"] = pl_module.lr


def go_on(folder: Path) -> dict[str, torch.Tensor]:
    """Go on with the training of 0.1.0 in a new folder; return the weights in the end."""
    folder.mkdir()
    shutil.copy(FORMER / "last.ckpt", folder / LAST)
    train(FORMER / "recipe.yaml", out=folder, resume="auto", trainer={"enable_progress_bar": False})
    return torch.load(folder / LAST, weights_only=True)["state_dict"]


def test_the_training_goes_on_as_in_the_former_version(tmp_path, monkeypatch, caplog):
    """Same images, order and learning rates as when 0.1.0 went on itself; same weights in the end."""
    recorder = Recorder()
    original = train.__globals__["_callbacks"]
    monkeypatch.setitem(train.__globals__, "_callbacks", lambda *a, **k: [*original(*a, **k), recorder])
    with caplog.at_level(logging.WARNING):
        weights = go_on(tmp_path / "first")
    # Keys with new names are read under their former names, with one warning.
    assert caplog.text.count("model.mixing is now task.mixing") == 1
    assert recorder.steps == FACTS["steps"]
    # On one machine, the same checkpoint leads to the same bits.
    again = go_on(tmp_path / "second")
    assert sorted(again) == sorted(weights)
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())
    with np.load(FORMER / "final_weights.npz") as arrays:
        expected = {name: torch.from_numpy(array) for name, array in arrays.items()}
    assert sorted(expected) == sorted(weights)
    kernels = (torch.backends.cpu.get_cpu_capability(), torch.__version__.partition("+")[0])
    if kernels == (FACTS["cpu_capability"], FACTS["torch"].partition("+")[0]) and torch.get_num_threads() == 1:
        assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())
    # Other kernels and numbers of threads add in another order. Then the weights differ by up to 1.2 % of the way that
    # they have come (measured). Without label smoothing they would differ by 3 %, after other images by 34 %.
    before = torch.load(FORMER / "last.ckpt", weights_only=True)["state_dict"]
    assert distance(weights, expected) < 0.02 * distance(before, expected)


def distance(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> float:
    """Return how far two networks' trained weights are from each other."""
    names = [name for name in first if name.endswith(("weight", "bias"))]
    return float(torch.stack([(first[name].double() - second[name]).square().sum() for name in names]).sum().sqrt())
