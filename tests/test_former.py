"""What parckit 0.1.0 wrote (tests/former): a bundle, a recipe, and a training that was ended within an epoch."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
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
    with np.load(FORMER / "final_weights.npz") as expected:
        assert sorted(expected) == sorted(weights)
        same_kernels = (torch.backends.cpu.get_cpu_capability(), torch.__version__.partition("+")[0]) == (
            FACTS["cpu_capability"],
            FACTS["torch"].partition("+")[0],
        )
        for name, weight in weights.items():
            if same_kernels and torch.get_num_threads() == 1:
                np.testing.assert_array_equal(weight.numpy(), expected[name], err_msg=name)
            # Other kernels add in another order. AdamW moves a weight by up to its learning rate, which is below 1e-3 in
            # these 4 steps, and the moves may differ by a few per cent: 5 % of 4e-3 are 2e-4.
            np.testing.assert_allclose(weight.numpy(), expected[name], rtol=1e-3, atol=2e-4, err_msg=name)
