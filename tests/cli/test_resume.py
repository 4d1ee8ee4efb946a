"""Trainings that are killed, fill the disk or diverge: what stays in the folder, and that they continue from there."""

import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml

from parckit.cli.main import main
from parckit.networks import open_checkpoint, read_training
from training_moments import Moment, train_until
from training_processes import ends, fork
from training_state import assert_same, state_of

# An epoch has eleven batches and six steps, the last step of one batch. The third epoch is cut short.
OPTIONS = (
    "--config=classify/digits_parcnet_xxs",
    "--trainer.max_epochs=3",
    "--trainer.max_steps=14",
    "--trainer.limit_train_batches=11",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.accumulate_grad_batches=2",
    "--trainer.enable_progress_bar=false",
    "--model.name=test_parcnetv2",
    '--model.kwargs={"img_size": 32, "depths": [1, 1, 1, 1], "drop_rate": 0.2, "drop_path_rate": 0.1}',
    "--task.mixing={}",
    "--task.class_weights=balanced",
    "--data.sampling=balanced",
    "--data.batch_size=8",
    "--data.sizes={sides: [24, 32], base: 32}",
    "--ema={decay: 0.9}",
    "--keep_best=2",
    "--resume=auto",
)
EVERY_STEP, EPOCHS_ENDS = "--save_minutes=1e-6", "--save_minutes=15"
# For each run: its end, how often it saves, the steps of the checkpoints that it leaves, and whether it leaves a
# half-written file. A run begins at the newest step that its folder holds.
KILLS = (
    # In the middle of steps.
    (Moment(action="step", count=1), EVERY_STEP, {}, False),
    # Before the content of a checkpoint is on the disk.
    (Moment(action="fsync", name="last.ckpt", count=2), EVERY_STEP, {"last.ckpt": 1}, True),
    # Before, between and after the renames.
    (Moment(action="replace", name="previous.ckpt", count=2), EVERY_STEP, {"last.ckpt": 2, "previous.ckpt": 1}, True),
    (Moment(action="replace", name="last.ckpt", count=2), EVERY_STEP, {"previous.ckpt": 3}, True),
    (Moment(action="fsync", name="killed", count=2), EVERY_STEP, {"last.ckpt": 5, "previous.ckpt": 4}, False),
    # At the end of an epoch: validated, with no best checkpoint yet.
    (Moment(action="replace", name="best", count=1), EVERY_STEP, {"last.ckpt": 5, "previous.ckpt": 4}, True),
    # Two steps after the end of an epoch, and a step after a save within an epoch.
    (Moment(action="step", count=3), EPOCHS_ENDS, {"last.ckpt": 6, "previous.ckpt": 5}, False),
    (Moment(action="step", count=3), EVERY_STEP, {"last.ckpt": 8, "previous.ckpt": 7}, False),
)

# A run that validates after each of the first steps has nothing but best checkpoints for a long time. An epoch has four
# steps and three validations.
VALIDATED_OFTEN = (
    "--trainer.val_check_interval=2",
    "--trainer.limit_train_batches=7",
    "--trainer.max_epochs=2",
    "--task.class_weights=null",
    "--data.sampling=natural",
)
# For each run: its end, and the number of best checkpoints that it leaves.
EARLY_KILLS = (
    # While the first checkpoint is written.
    (Moment(action="fsync", name="best", count=1), 0),
    # After the third of the two best ones, before the first one is removed.
    (Moment(action="fsync", name="killed", count=3), 3),
    # While the first `last.ckpt` is written.
    (Moment(action="fsync", name="last.ckpt", count=1), 2),
    # After the last step, while the average is written.
    (Moment(action="replace", name="average.safetensors", count=1), None),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    finish(out)
    return out


def arguments(out: Path, *options: str) -> list[str]:
    return [*OPTIONS, *options, f"--out={out}"]


def end_at(moment: Moment, out: Path, *options: str) -> int:
    """Train until a moment; return the exit code."""
    return ends(fork(train_until, moment, arguments(out, *options)))


def finish(out: Path, *options: str) -> None:
    main(["train", *arguments(out, EPOCHS_ENDS, *options)])


def steps_in(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def assert_same_training(one: Path, other: Path) -> None:
    """Compare all checkpoints of two folders, and which of them were best."""
    names = [path.name for path in sorted(one.glob("*.ckpt"))]
    assert names == [path.name for path in sorted(other.glob("*.ckpt"))]
    assert len(names) == 4, "last, previous and the best two"
    for name in names:
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        assert_same(state_of(one / name), state_of(other / name))
        scores = [
            {Path(path).name: score for path, score in state["best_k_models"].items()}
            for checkpoint in (ours, theirs)
            for state in checkpoint["callbacks"].values()
            if "best_k_models" in state
        ]
        assert_same(*scores)
    # Not by bytes: the library writes the keys of the file's head in any order.
    (ours, our_spec), (theirs, their_spec) = (
        open_checkpoint(folder / "average.safetensors") for folder in (one, other)
    )
    assert our_spec == their_spec
    assert_same(ours.state_dict(), theirs.state_dict())


def test_killed_runs_end_with_the_weights_of_an_undisturbed_one(whole, tmp_path):
    out = tmp_path / "killed"
    for number, (moment, saves, left, is_half) in enumerate(KILLS):
        assert end_at(moment, out, saves, f"--data.workers={number % 2}") == -signal.SIGKILL, moment
        steps = {path.name: steps_in(path) for path in out.glob("*.ckpt") if not path.name.startswith("best")}
        assert (steps, len(list(out.glob(".*~*.tmp")))) == (left, is_half), moment
    finish(out)
    assert not list(out.glob(".*"))
    assert_same_training(whole, out)


def test_a_run_killed_before_its_first_last_checkpoint_goes_on_too(tmp_path):
    finish(tmp_path / "whole", *VALIDATED_OFTEN)
    out = tmp_path / "killed"
    for moment, left in EARLY_KILLS:
        assert end_at(moment, out, EPOCHS_ENDS, *VALIDATED_OFTEN) == -signal.SIGKILL, moment
        # Which steps are best depends on the rounding of the CPU's kernels.
        count = len(list(out.glob("best*.ckpt")))
        assert left is None or (count, (out / "last.ckpt").exists()) == (left, False), moment
    finish(out, *VALIDATED_OFTEN)
    assert not list(out.glob(".*"))
    assert_same_training(tmp_path / "whole", out)


def test_what_a_terminal_sends_to_a_training_and_its_workers_is_no_accident(whole, tmp_path, capfd):
    for signum, code, steps in ((signal.SIGINT, 130, 2), (signal.SIGHUP, 129, 4), (signal.SIGTERM, 143, 6)):
        moment = Moment(action="step", count=2, signum=signum)
        assert end_at(moment, tmp_path, EPOCHS_ENDS, "--data.workers=2") == code
        assert steps_in(tmp_path / "last.ckpt") == steps
    assert "Traceback" not in capfd.readouterr().err
    finish(tmp_path)
    assert_same_training(whole, tmp_path)


@pytest.fixture
def interrupted(begun: Path, tmp_path: Path) -> Path:
    """Return the folder of a training that was stopped after the first of its two epochs."""
    return shutil.copytree(begun, tmp_path / "run")


@pytest.fixture
def go_on(start_training: tuple[str, ...], interrupted: Path) -> tuple[object, ...]:
    """Return the command that continues it."""
    return (*start_training, "--trainer.max_epochs=2", "--resume=auto", "--out", interrupted)


def test_auto_begins_goes_on_and_is_content_with_what_is_finished(go_on, interrupted, parckit, tmp_path):
    parckit(*go_on, "--out", tmp_path / "new")
    assert steps_in(tmp_path / "new" / "last.ckpt") == 4
    before = steps_in(interrupted / "last.ckpt")
    for number in range(2):
        printed = parckit(*go_on)
        told = f"resumed from {interrupted}/last.ckpt: {before} of 4 steps are done"  # with two of an epoch
        assert (told in printed) is (number == 0), "a finished run is not resumed"
        finished = f"{interrupted}/last.ckpt: this training is finished, 4 of 4 steps are done"
        assert (finished in printed) is (number == 1)
        named = [line.partition(": ")[2] for line in printed.splitlines()[-4:]]
        assert all(Path(name).is_file() for name in named), named
        assert f"last checkpoint: {interrupted}/last.ckpt" in printed
        assert steps_in(interrupted / "last.ckpt") == before + 2
        assert steps_in(interrupted / "previous.ckpt") == before


def test_a_finished_run_says_which_file_is_gone(start_training, begun, tmp_path, mistake, parckit):
    out = shutil.copytree(begun, tmp_path / "run")
    shutil.rmtree(out / "logs")
    assert "metrics" not in parckit(*start_training, "--out", out, "--resume=auto")
    (out / "best.ckpt").unlink()
    message = mistake(*start_training, "--out", out, "--resume=auto")
    assert message == f"--out {out}: this training is finished, but its best.ckpt is not there any more"


def test_a_run_killed_after_its_last_validation_names_the_checkpoint_that_is_there(begun, tmp_path, parckit, go_on):
    out = shutil.copytree(begun, tmp_path / "killed", ignore=shutil.ignore_patterns("last.ckpt"))
    printed = parckit(*go_on, "--out", out, "--trainer.max_steps=2")
    assert f"last checkpoint: {out}/best.ckpt" in printed


@pytest.mark.parametrize(
    ("option", "before", "now"),
    [
        ("--seed", "0", "1"),
        ("--data.batch_size", "32", "16"),
        ("--data.sampling", "natural", "balanced"),
        ("--data.sizes", "null", "{sides: [24, 32], base: 32}"),
        ("--trainer.accumulate_grad_batches", "1", "2"),
    ],
)
def test_within_an_epoch_what_decides_its_images_may_not_change(option, before, now, go_on, interrupted, mistake):
    message = mistake(*go_on, "--resume", interrupted / "best.ckpt", f"{option}={now}")
    assert f"was written inside an epoch and goes on only with {option} {before}, not " in message


def test_the_best_checkpoint_of_a_copied_training_is_not_replaced_by_a_worse_one(go_on, interrupted, parckit):
    before = (interrupted / "best.ckpt").read_bytes()
    parckit(*go_on, "--model.optimizer.lr=10", "--model.schedule.min_lr=10")
    assert torch.load(interrupted / "last.ckpt", weights_only=True)["epoch"] == 1
    assert (interrupted / "best.ckpt").read_bytes() == before


def test_a_full_disk_ends_in_one_line_and_the_last_checkpoint_is_intact(go_on, interrupted, mistake, parckit):
    last, before = interrupted / "last.ckpt", (interrupted / "last.ckpt").read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, unlimited[1]))
    try:
        message = mistake(*go_on)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert message.endswith(".ckpt: cannot be written (File too large); the earlier checkpoints are intact")
    assert last.read_bytes() == before
    assert not list(interrupted.glob(".*"))
    parckit(*go_on)
    assert torch.load(last, weights_only=True)["epoch"] == 1


def test_a_folder_that_cannot_be_made_is_named_before_training(go_on, picture, mistake):
    message = mistake(*go_on, "--out", picture / "run")
    assert message.startswith(f"--out {picture / 'run'}: cannot be written ({picture}: Not a directory")


def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_offered(go_on, interrupted, mistake, parckit, caplog):
    last, previous = interrupted / "last.ckpt", interrupted / "previous.ckpt"
    shutil.copy(last, previous)
    last.write_bytes(last.read_bytes()[:-1000])
    message = mistake(*go_on, "--resume", last)
    assert message.startswith(f"--resume {last}: damaged")
    assert message.endswith(f"the checkpoint before it is intact: {previous}")
    assert mistake(*go_on, "--resume", last, "--match_weights=true") == message
    parckit(*go_on)
    assert f"refused {last}: damaged" in caplog.text
    assert torch.load(last, weights_only=True)["epoch"] == 1


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(go_on, interrupted, mistake, capsys):
    before = (interrupted / "last.ckpt").read_bytes()
    with pytest.raises(SystemExit) as ending:
        main([str(arg) for arg in (*go_on, "--model.optimizer.lr=1e38", "--model.schedule.min_lr=1e38")])
    assert ending.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    (evidence,) = interrupted.glob("nan-step*.ckpt")
    assert line.startswith("parckit: error: the loss is nan at step ")
    assert str(evidence) in line
    assert (interrupted / "last.ckpt").read_bytes() == before
    assert read_training(evidence)[0].labels == tuple("0123456789")
    assert "only weights" in mistake(*go_on, "--resume", evidence)


def test_the_best_checkpoints_are_kept_and_averaged_and_can_be_gone_on_from(start_training, tmp_path, parckit):
    argv = (*start_training, "--trainer.max_epochs=3", "--keep_best=2")
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    printed = parckit(*argv, "--out", whole).splitlines()
    kept = sorted(whole.glob("best-*.ckpt"))
    assert len(kept) == 2
    average = whole / "average.safetensors"
    assert f"average of the best: {average}" in printed
    assert any(line == f"best checkpoint: {path}" for path in kept for line in printed)
    (mean, _), *both = (open_checkpoint(path) for path in (average, *kept))
    weights = torch.stack([model.state_dict()["head.fc.weight"] for model, _ in both])
    # One rounding of float32.
    torch.testing.assert_close(mean.state_dict()["head.fc.weight"], weights.mean(0), atol=0, rtol=2e-7)
    parckit(*argv, "--out", rest, "--resume", kept[0])
    assert steps_in(kept[0]) < 6, "there was something left to do"
    assert_same(state_of(whole / "last.ckpt"), state_of(rest / "last.ckpt"))


@pytest.mark.parametrize(
    ("accumulated", "told"),
    [
        (2, "64 images per step (32 x 2 accumulated x 1 processes), 3 steps per epoch (the last one of 32 images)"),
        (8, "160 images per step (32 x 5 accumulated x 1 processes), 1 steps per epoch"),
    ],
)
def test_it_says_how_much_a_step_takes(accumulated, told, start_training, tmp_path, parckit):
    options = (
        "--trainer.limit_train_batches=5",
        f"--trainer.accumulate_grad_batches={accumulated}",
        "--model.optimizer.lr_batch=32",
        "--task.class_weights={3: 2}",
    )
    printed = parckit(*start_training, *options, "--out", tmp_path / "run")
    images = int(told.split()[0])
    rate = f"{0.03 * images / 32:g} (0.03 x {images}/32)"
    first, second = printed.splitlines()[4:6]
    assert first == f"{told}, highest learning rate {rate}"
    assert second.startswith("class weights: 0 0.")


def test_it_says_of_what_size_the_images_of_a_step_are(start_training, tmp_path, parckit):
    sizes = "--data.sizes={sides: [24, 32], base: 32}"
    printed = parckit(*start_training, sizes, "--out", tmp_path / "run")
    assert printed.splitlines()[4].startswith("32 images of 32x32 pixels per step (")


def test_the_weights_that_it_began_with_may_be_gone(go_on, begun, tmp_path, parckit):
    weights = shutil.copy(begun / "best.ckpt", tmp_path / "weights.ckpt")
    options = ("--out", tmp_path / "new", "--model.weights", weights)
    parckit(*go_on, *options, "--trainer.max_epochs=1")
    weights.unlink()
    parckit(*go_on, *options)
    assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True)["epoch"] == 1
    assert yaml.safe_load((tmp_path / "new" / "config.yaml").read_text())["model"]["weights"] == str(weights)
