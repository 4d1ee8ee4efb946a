"""What `parckit train` refuses, in one line that names the mistake."""

import shutil

import pytest
from torch import Tensor, nn

from parckit.cli.main import main
from parckit.tasks import TASKS, Classify


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--config=classify/nothing"], "--config classify/nothing"),
        (["--nope=3"], "--nope=3"),
        (["--trainer.max_epoch=3"], "--trainer.max_epoch=3"),
        (["--data=no/such/folder"], "no/such/folder"),
        (["--data=https://host/train-0.tar"], "https://host/train-0.tar: parckit reads shards from disk; copy them"),
        (["--model.kwargs.depth=3"], "'depth'"),
        (["--model.optimizer.lr=-1"], "lr=-1"),
        (["--data.batch_size=5000"], "batch_size=5000"),
        (["--trainer.limit_train_batches=0"], "0: nothing would be learned"),
        (["--trainer.gradient_clip_val=-1"], "--trainer.gradient_clip_val -1"),
        (["--threads=99999999"], "--threads 99999999: must be"),
        (["--data.preprocessing.size=[999999999999999999999, 32]"], "size=(999999999999999999999, 32)"),
        (["--model.kwargs.in_chans=1"], "in_chans: 1 in model.kwargs and channel_order: grey"),
        (["--monitor=luck"], "--monitor"),
        (["--seed=-1"], "--seed"),
        (["--trainer.accelerator=abacus"], "--trainer.accelerator abacus"),
        (["--trainer.precision=wild"], "--trainer.precision"),
        (["--trainer.limit_val_batches=0"], "--trainer.limit_val_batches 0"),
        (["--trainer.accumulate_grad_batches=0"], "--trainer.accumulate_grad_batches 0"),
        (["--trainer.fast_dev_run=true"], "--trainer.fast_dev_run"),
        (["--trainer.max_time=00:00:05:00"], "--trainer.max_time 00:00:05:00: skips the rest of the epoch"),
        (["--trainer.max_epochs=0"], "--trainer.max_steps, --trainer.max_epochs: the schedule needs"),
        (["--trainer.limit_test_batches=1"], "--trainer.limit_test_batches 1"),
        (["--trainer.gradient_clip_algorithm=value"], "needs --trainer.gradient_clip_val"),
        (["--trainer.gradient_clip_val=1", "--trainer.gradient_clip_algorithm=x"], "--trainer.gradient_clip_algorithm"),
        (["--trainer.strategy=fsdp"], "--trainer.strategy fsdp: choose from auto, ddp"),
        (["--trainer.profiler=x"], "--trainer.profiler x: choose from simple, advanced"),
        (["--trainer.precision=16-true", "--ema=null"], "--trainer.precision 16-true"),
        (["--trainer.precision=bf16-true"], "--trainer.precision bf16-true: --ema needs"),
        (["--trainer.barebones=true"], "--trainer.barebones true"),
        (["--trainer.use_distributed_sampler=true"], "--trainer.use_distributed_sampler true"),
        (["--trainer.model_registry=x"], "--trainer.model_registry x"),
        (["--trainer.min_epochs=3"], "--trainer.min_epochs 3: is more than --trainer.max_epochs 1"),
        (
            ["--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=00:00:05:00"],
            "--trainer.val_check_interval 00:00:05:00",
        ),
        (["--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=1"], "--trainer.val_check_interval 1"),
        (["--trainer.devices=2", "--trainer.sync_batchnorm=true"], "--trainer.sync_batchnorm true"),
        (["--model.name=resnet18", "--model.kwargs={img_size: 32}"], "img_size"),
    ],
    ids=str,
)
def test_mistakes_are_named_and_leave_nothing(options, named, start_training, tmp_path, mistake):
    assert named in mistake(*start_training, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_without_a_recipe_the_needed_options_are_named(mistake):
    message = mistake("train")
    assert all(name in message for name in ("model.name", "data.source", "data.preprocessing.size"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: {nam: x}", "CONFIG: 'model.nam' is an unknown key"),
        ("trainer: {max_epoch: 3}", "CONFIG: 'trainer.max_epoch' is an unknown key"),
        ("epochs: 3", "CONFIG: 'epochs' is an unknown key"),
        ("trainer: {max_epochs: x}", "CONFIG: --trainer.max_epochs: "),
        ("data: {preprocessing: {siz: 3}}", "CONFIG: 'data.preprocessing.siz' is an unknown key"),
        ("model: [", "CONFIG"),
        ("just words", "CONFIG"),
    ],
)
def test_mistakes_in_a_configuration_are_named(text, named, tmp_path, mistake):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = mistake("train", "--config", path, "--out", tmp_path / "run")
    assert named.replace("CONFIG", f"--config {path}") in message


def test_a_configuration_that_is_no_text_is_named(picture, mistake):
    assert mistake("train", "--config", picture).startswith(f"--config {picture}: ")


def test_what_the_data_decide_cannot_be_given(start_training, mistake):
    assert "model.labels" in mistake(*start_training, "--model.labels=[a, b]")


def test_a_validation_that_an_epoch_is_too_short_for_is_an_error(start_training, tmp_path, mistake):
    message = mistake(*start_training, "--out", tmp_path / "run", "--trainer.val_check_interval=100")
    assert message.startswith("--trainer: `val_check_interval` (100) must be less than or equal")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.check_val_every_n_epoch=2"], "ends after 2 steps, before the first validation at 4"),
        (["--trainer.max_steps=1"], "ends after 1 steps, before the first validation at 2"),
        (["--trainer.max_steps=1", "--trainer.val_check_interval=0.5"], None),
    ],
    ids=str,
)
def test_a_run_that_ends_before_its_first_validation_is_refused(
    options, told, start_training, tmp_path, parckit, mistake
):
    argv = (*start_training, *options, "--out", tmp_path / "run")
    if told is None:
        parckit(*argv)
    else:
        assert mistake(*argv) == f"--trainer: the run {told}"
        assert not list((tmp_path / "run").glob("*.ckpt"))


@pytest.mark.filterwarnings("ignore:Error detected in MulBackward0", "ignore:Anomaly Detection has been enabled")
def test_an_anomaly_of_gradients_ends_the_run_without_a_traceback(start_training, tmp_path, monkeypatch, capsys):
    class Unsteady(Classify):
        """The loss is finite, its gradient is not."""

        def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
            return network(images).square().sum().mul(0).sqrt()

    monkeypatch.setitem(TASKS, "classify", Unsteady)
    with pytest.raises(SystemExit) as ending:
        main([*start_training, "--trainer.detect_anomaly=true", f"--out={tmp_path / 'run'}"])
    assert ending.value.code == 1
    message = capsys.readouterr().err.splitlines()[-1]  # torch tells before it where the operation is
    assert message.startswith("parckit: error: --trainer.detect_anomaly: Function 'MulBackward0' returned nan values")


def test_a_profile_is_written_beside_the_checkpoints(start_training, tmp_path, parckit):
    parckit(*start_training, "--trainer.profiler=simple", "--out", tmp_path / "run")
    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


def test_a_broken_image_ends_the_run_with_its_name(start_training, digit_folder, tmp_path, mistake):
    path = digit_folder / "3" / "000.png"
    for split in ("train", "val"):
        shutil.copytree(digit_folder, tmp_path / "images" / split)
    path = tmp_path / "images" / "train" / "3" / "000.png"
    path.write_bytes(b"")
    options = ("--data", tmp_path / "images", "--data.batch_size=10")
    message = mistake(*start_training, *options, "--out", tmp_path / "run")
    assert message.startswith(f"{path}: ")
    assert "--data.on_error skip" in message
