"""Tuning: values come from the space, an interrupted tuning goes on, and what does not fit is refused."""

import json
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from parckit.contract import InputError
from parckit.tasks import tuning
from parckit.tasks.errors import DivergedError
from parckit.tasks.train import Run
from parckit.tasks.tuning import JOURNAL, tune
from parckit.tasks.tuning_space import parse_space, read_space
from small_trainings import BRIEF

RECIPE = "classify/digits_parcnet_xxs"
SPACE = {
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "task.augment.scale": {"choices": [[0.1, 1.0], [0.5, 1.0]]},
    "trainer.max_epochs": {"low": 1, "high": 3, "whole": True},
}


@pytest.fixture
def trained(monkeypatch) -> list[dict[str, object]]:
    """Replace the training by a formula that is best at a learning rate of 1e-3; return what was trained."""
    calls: list[dict[str, object]] = []

    def run(parser, config, *, tell) -> Run:
        calls.append({"out": config.out, "lr": config.model.optimizer.lr, "resume": config.resume})
        Path(config.out).mkdir(exist_ok=True)
        if len(calls) == 3:
            raise KeyboardInterrupt
        if len(calls) == 5:
            raise DivergedError("the loss is nan")
        parser.save(config, Path(config.out) / "config.yaml", overwrite=True)
        value = abs(config.model.optimizer.lr - 1e-3)
        path = Path(config.out)
        return Run(best=path, last=path, average=None, metrics=path, config=path, monitor="val_loss", value=value)

    monkeypatch.setattr(tuning, "run_training", run)
    return calls


def test_an_interrupted_tuning_goes_on_and_the_best_is_told(trained, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tune(RECIPE, SPACE, trials=6, out=tmp_path)
    result = tune(RECIPE, SPACE, trials=6, out=tmp_path)
    # The third training was interrupted, and was resumed in its folder with its values.
    assert trained[3] == trained[2]
    assert {call["resume"] for call in trained} == {"auto"}
    assert len(trained) == 7
    assert len(result.trials) == 6
    # The fifth one diverged.
    assert [value for _, value, _ in result.trials].count(None) == 1
    assert result.value == min(value for _, value, _ in result.trials if value is not None)
    assert 1e-4 <= result.values["model.optimizer.lr"] <= 1e-2
    assert result.values["task.augment.scale"] in ([0.1, 1.0], [0.5, 1.0])
    assert result.values["trainer.max_epochs"] in (1, 2, 3)
    best, recipe = (yaml.safe_load(path.read_text()) for path in (result.best / "config.yaml", result.recipe))
    assert best == {**recipe, "out": str(result.best)}, "the recipe leads to another folder"
    # A finished tuning trains nothing more.
    assert tune(RECIPE, SPACE, trials=6, out=tmp_path) == result
    assert len(trained) == 7


@pytest.fixture
def outcomes(monkeypatch) -> list[float | str]:
    """Replace the training by what the list says, from its end: a value, `refused`, or an error after the beginning."""
    coming: list[float | str] = []

    def run(parser, config, *, tell) -> Run:
        outcome, path = coming.pop(), Path(config.out)
        if outcome == "refused":
            raise InputError("batch_size=64: the data have 30 images")
        path.mkdir(exist_ok=True)
        parser.save(config, path / "config.yaml", overwrite=True)
        if isinstance(outcome, str):
            raise InputError(outcome)
        return Run(best=path, last=path, average=None, metrics=path, config=path, monitor="val_loss", value=outcome)

    monkeypatch.setattr(tuning, "run_training", run)
    return coming


def test_a_refused_trial_counts_and_two_in_a_row_end_the_tuning(outcomes, tmp_path):
    outcomes[:] = [0.1, "refused", "refused", 0.2, "refused", 0.3]
    with pytest.raises(InputError, match="the data have 30 images"):
        tune(RECIPE, SPACE, trials=6, out=tmp_path)
    result = tune(RECIPE, SPACE, trials=6, out=tmp_path)
    assert [value for _, value, _ in result.trials] == [0.3, None, 0.2, None, None, 0.1]


def test_a_training_that_failed_after_its_beginning_goes_on(outcomes, tmp_path):
    outcomes[:] = [0.1, 0.2, "the disk is full"]
    with pytest.raises(InputError, match="the disk is full"):
        tune(RECIPE, SPACE, trials=2, out=tmp_path)
    result = tune(RECIPE, SPACE, trials=2, out=tmp_path)
    assert [(folder, value) for folder, value, _ in result.trials] == [("trial-000", 0.2), ("trial-002", 0.1)]


def test_a_trial_that_was_killed_before_it_had_a_folder_does_not_count(outcomes, tmp_path):
    outcomes[:] = [0.1, 0.2, 0.3]
    tune(RECIPE, SPACE, trials=1, out=tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    study = optuna.load_study(study_name="parckit", storage=storage)
    study.ask({key: values.distribution() for key, values in parse_space(SPACE).items()})
    result = tune(RECIPE, SPACE, trials=3, out=tmp_path)
    assert [value for _, value, _ in result.trials] == [0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("options", "named"), [({"overwrite": True}, "overwrite=True"), ({"resume": "auto"}, 'resume="auto"')]
)
def test_what_a_tuning_decides_itself_is_refused(options, named, tmp_path):
    with pytest.raises(InputError, match=f"^{named} is not for a tuning"):
        tune(RECIPE, SPACE, trials=1, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_keeps_to_its_space(trained, tmp_path):
    tune(RECIPE, SPACE, trials=1, out=tmp_path)
    with pytest.raises(InputError, match="holds a tuning of another space"):
        tune(RECIPE, {"model.optimizer.lr": {"low": 1e-4, "high": 2e-2, "log": True}}, trials=2, out=tmp_path)


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({"model.optimizer.rate": {"low": 0, "high": 1}}, "model.optimizer.rate: is no key of the recipe"),
        ({"model.optimizer.lr": {"low": 1, "high": 1}}, "low must be below high"),
        ({"model.optimizer.lr": {"low": 0, "high": 1, "log": True}}, "above 0 if log is true"),
        ({"model.optimizer.lr": {"low": 0.5, "high": 1, "whole": True}}, "must be whole numbers"),
        ({"model.optimizer.lr": {"choices": [1]}}, "need at least two"),
        ({"model.optimizer.lr": 1}, "model.optimizer.lr: holds 1"),
        ({"model.optimizer.lr": {"low": 1e-9, "high": 1}}, "optimizer.lr=1e-09: is below schedule.min_lr"),
        ({"trainer.accumulate_grad_batches": {"choices": [0, 1]}}, "trainer.accumulate_grad_batches 0: must be"),
    ],
    ids=str,
)
def test_a_wrong_space_is_refused(space, named, tmp_path):
    with pytest.raises(InputError, match=named):
        tune(RECIPE, space, trials=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_space_is_read_from_yaml(tmp_path):
    (tmp_path / "space.yaml").write_text(json.dumps(SPACE))
    assert read_space(tmp_path / "space.yaml") == parse_space(SPACE)
    for wrong in ("[1]", "a: [", ""):
        (tmp_path / "wrong.yaml").write_text(wrong)
        with pytest.raises(InputError, match=r"wrong\.yaml"):
            read_space(tmp_path / "wrong.yaml")


def test_the_command_tunes(tmp_path, capsys):
    from parckit.cli.main import main

    (tmp_path / "space.yaml").write_text("model.optimizer.lr: {choices: [1.0e-3, 3.0e-3]}")
    out = tmp_path / "out"
    main(["tune", str(tmp_path / "space.yaml"), "--trials=2", "--", *BRIEF[1:], f"--out={out}"])
    printed = capsys.readouterr().out
    assert "2 trainings" in printed
    assert {path.name for path in out.iterdir()} == {JOURNAL, "best.yaml", "trial-000", "trial-001"}
