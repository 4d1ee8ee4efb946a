"""How a training starts where another one was: its folder, its checkpoint, its configuration."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from parckit.cli.main import main
from parckit.networks import add_digest, open_checkpoint, save_weights
from parckit.tasks import TrainingModule


def monitored(checkpoint: Path) -> float:
    """Return the best value that a checkpoint remembers."""
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    (best,) = (state for name, state in states.items() if "'monitor': 'val_loss'" in name)
    return float(best["best_model_score"])


def epochs(metrics: Path) -> list[int]:
    with metrics.open() as file:
        return sorted({int(row["epoch"]) for row in csv.DictReader(file)})


def test_the_saved_configuration_gives_the_same_run(begun, tmp_path, parckit):
    parckit("train", "--config", begun / "config.yaml", "--out", tmp_path / "again")
    first, second = (yaml.safe_load((out / "config.yaml").read_text()) for out in (begun, tmp_path / "again"))
    assert second == first | {"out": str(tmp_path / "again")}


def test_the_saved_configuration_neither_overwrites_nor_resumes(begun, tmp_path, start_training, parckit):
    options = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2", "--overwrite")
    parckit(*start_training, "--out", tmp_path / "new", *options)
    assert not {"overwrite", "resume"} & yaml.safe_load((tmp_path / "new" / "config.yaml").read_text()).keys()


def test_a_training_is_not_overwritten_unasked(start_training, begun, tmp_path, mistake, parckit):
    out = shutil.copytree(begun, tmp_path / "run")
    message = mistake(*start_training, "--out", out)
    assert message.startswith(f"--out {out}: ")
    assert f"--resume {out}/last.ckpt" in message
    before = {path.name: path.read_bytes() for path in out.glob("*.ckpt")}
    assert message == mistake(*start_training, "--out", out, "--resume", begun / "last.ckpt")
    assert "--overwrite" in mistake(*start_training, "--out", out, "--resume=auto", "--overwrite")
    # Found only when the trainer has the data, and still before anything is replaced.
    assert "val_check" in mistake(*start_training, "--out", out, "--overwrite", "--trainer.val_check_interval=1000")
    assert before == {path.name: path.read_bytes() for path in out.glob("*.ckpt")}
    parckit(*start_training, "--out", out, "--overwrite")
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 2


def test_the_best_checkpoint_alone_is_not_overwritten_either(start_training, begun, tmp_path, mistake, parckit):
    (tmp_path / "run").mkdir()
    best = Path(shutil.copy(begun / "best.ckpt", tmp_path / "run"))
    message = mistake(*start_training, "--out", tmp_path / "run")
    assert f"go on with --resume {best}" in message
    assert best.read_bytes() == (begun / "best.ckpt").read_bytes()
    assert f"resumed from {best}: 2 of 2 steps" in parckit(*start_training, "--out", best.parent, "--resume=auto")


def test_averaged_weights_alone_are_not_overwritten_either(start_training, begun, tmp_path, mistake):
    (tmp_path / "run").mkdir()
    save_weights(*open_checkpoint(begun / "best.ckpt"), tmp_path / "run" / "average.safetensors")
    message = mistake(*start_training, "--out", tmp_path / "run", "--resume=auto")
    assert message == f"--out {tmp_path / 'run'}: holds a training; replace it with --overwrite"


def test_a_resumed_run_goes_on_with_the_next_epoch(start_training, begun, tmp_path, parckit):
    out = shutil.copytree(begun, tmp_path / "run")
    last = out / "last.ckpt"
    steps, best = torch.load(last, weights_only=True)["global_step"], monitored(last)
    parckit(*start_training, "--out", out, "--resume", last, "--trainer.max_epochs=2")
    assert epochs(out / "logs" / "version_1" / "metrics.csv") == [1]
    checkpoint = torch.load(last, weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, steps + 2)
    assert checkpoint["averaging_state"]["n_averaged"] == 1 + steps + 2  # the initial weights are averaged too
    # best.ckpt is judged by all epochs, those before the interruption too.
    assert monitored(last) <= best


def test_a_run_may_go_on_in_another_folder(start_training, begun, tmp_path, parckit):
    options = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2")
    parckit(*start_training, "--out", tmp_path / "new", *options)
    assert (tmp_path / "new" / "best.ckpt").is_file()
    assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.kwargs.img_size=64"], "only with --model.kwargs {'img_size': 32, 'depths': [1, 1, 1, 1]}, not {"),
        (
            ["--model.name=test_parcnet", "--data.preprocessing.fit=stretch"],
            "only with --model.name test_parcnetv2, not test_parcnet; --data.preprocessing.fit cover, not stretch",
        ),
        (["--model.optimizer.name=sgd"], "only with --model.optimizer.name adamw, not sgd"),
        (["--model.optimizer.options={betas: [0.8, 0.9]}"], "only with --model.optimizer.options {}, not "),
        (["--ema=null"], "only with --ema given, not null"),
        (["--monitor=val_top1"], "only with --monitor val_loss, not val_top1"),
    ],
    ids=str,
)
def test_what_cannot_go_on_is_refused(options, named, start_training, begun, tmp_path, mistake):
    argv = (*start_training, "--out", tmp_path / "run", "--resume", begun / "last.ckpt", *options)
    assert named in mistake(*argv)


def test_a_finished_training_of_another_folder_names_its_best_checkpoint(start_training, begun, tmp_path, mistake):
    message = mistake(*start_training, "--out", tmp_path / "run", "--resume", begun / "last.ckpt")
    finished = f"--resume {begun}/last.ckpt: this training is finished, 2 of 2 steps are done"
    assert message == f"{finished}; its best checkpoint is {begun}/best.ckpt"
    assert not (tmp_path / "run").exists()


def test_other_images_of_the_same_classes_are_refused(start_training, begun, digit_folder, tmp_path, mistake):
    for split in ("train", "val"):
        shutil.copytree(digit_folder, tmp_path / "images" / split)
    options = ("--data", tmp_path / "images", "--data.batch_size=10", "--resume", begun / "last.ckpt")
    message = mistake(*start_training, *options, "--out", tmp_path / "run")
    assert message.endswith("was trained on 1255 images, the data now have 10")
    assert not (tmp_path / "run").exists()


def test_between_epochs_much_may_change(start_training, begun, tmp_path, parckit):
    options = ("--seed=1", "--data.batch_size=16", "--trainer.accumulate_grad_batches=2", "--model.optimizer.lr=0.01")
    start = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2")
    parckit(*start_training, *options, *start, "--out", tmp_path / "run")
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 1


def test_only_a_training_can_be_resumed(start_training, begun, tmp_path, mistake):
    weights, cut = tmp_path / "weights.safetensors", tmp_path / "cut.ckpt"
    save_weights(*open_checkpoint(begun / "last.ckpt"), weights)
    cut.write_bytes((begun / "last.ckpt").read_bytes()[:5000])
    for path in (weights, cut, tmp_path / "missing.ckpt"):
        assert str(path) in mistake(*start_training, "--out", tmp_path / "run", "--resume", path)
        assert not (tmp_path / "run").exists()


def test_a_run_that_no_longer_improves_ends_once(start_training, tmp_path, parckit):
    # A learning rate of almost 0 improves nothing, and the loss must be less than before, not equal.
    still = ("--model.optimizer.lr=1e-30", "--model.schedule.min_lr=0", "--monitor=val_top1", "--trainer.max_epochs=9")
    argv = (*start_training, *still, "--patience=2", "--resume=auto", "--out", tmp_path)
    told = "in 2 validations (--patience 2)"
    for _ in range(2):  # what has ended ends again
        assert told in parckit(*argv)
        last = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert (last["epoch"], last["global_step"]) == (2, 6)
    assert "(--patience 4)" in parckit(*argv, "--patience=4")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 4
    assert "ended: " not in parckit(*argv, "--patience=null", "--trainer.max_epochs=6")


def remove_weights(checkpoint: dict) -> None:
    checkpoint["state_dict"] = {}


def remove_optimizer(checkpoint: dict) -> None:
    checkpoint["optimizer_states"] = []


def change_loop(checkpoint: dict) -> None:
    checkpoint["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"] = "x"


def change_best(checkpoint: dict) -> None:
    (name,) = (name for name in checkpoint["callbacks"] if name.startswith("SaveBest"))
    checkpoint["callbacks"][name] = 3


@pytest.mark.parametrize(
    "change",
    [
        remove_weights,
        remove_optimizer,
        change_loop,
        change_best,
    ],
)
def test_a_checkpoint_that_lightning_cannot_restore_is_damaged(change, start_training, begun, tmp_path, mistake):
    checkpoint = torch.load(begun / "last.ckpt", weights_only=True)
    change(checkpoint)
    path = tmp_path / "wrong.ckpt"
    add_digest(checkpoint)
    torch.save(checkpoint, path)
    argv = (*start_training, "--trainer.max_epochs=2", "--out", tmp_path / "run", "--resume", path)
    assert f"{path}: damaged: its state of the training has" in mistake(*argv)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("prepare_data", RuntimeError("before the checkpoint is read")),
        ("configure_optimizers", torch.cuda.OutOfMemoryError("CUDA out of memory")),
    ],
)
def test_an_error_of_another_reason_does_not_blame_the_checkpoint(
    method, error, start_training, begun, tmp_path, monkeypatch, capsys
):
    def fail(module: TrainingModule) -> None:
        raise error

    monkeypatch.setattr(TrainingModule, method, fail)
    options = ("--trainer.max_epochs=2", "--out", tmp_path / "run", "--resume", begun / "last.ckpt")
    with pytest.raises((RuntimeError, SystemExit)):
        main([str(argument) for argument in (*start_training, *options)])
    assert "damaged" not in capsys.readouterr().err
