"""`parckit.train` and `parckit train` do the same."""

from pathlib import Path

import pytest
import torch
import yaml

from parckit import train
from parckit.contract import InputError
from training_state import assert_same, state_of

RECIPE = "classify/digits_parcnet_xxs"


def in_python(out: Path, **changes: object) -> dict[str, object]:
    """Return the overrides of `parckit.train` that equal `start_training`, with changes to some groups."""
    model = {"name": "test_parcnetv2", "kwargs": {"img_size": 32, "depths": [1, 1, 1, 1]}, "optimizer": {"lr": 0.03}}
    limits = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    limits["enable_progress_bar"] = False
    groups = {"model": model, "trainer": limits, "ema": {"decay": 0.5}}
    return {"out": str(out), **{name: groups[name] | changes.get(name, {}) for name in groups}}


def test_python_trains_as_the_command_does(begun, tmp_path):
    told: list[str] = []
    run = train(RECIPE, tell=told.append, **in_python(tmp_path))
    for name in ("best.ckpt", "last.ckpt"):
        assert_same(state_of(tmp_path / name), state_of(begun / name))
    first, second = (yaml.safe_load((out / "config.yaml").read_text()) for out in (begun, tmp_path))
    assert second == first | {"out": str(tmp_path)}
    assert [line.partition(" (")[0] for line in told[4:]] == ["32 images per step"]
    names = {path.relative_to(tmp_path).as_posix() for path in (run.best, run.last, run.metrics, run.config)}
    assert names == {"best.ckpt", "last.ckpt", "logs/version_0/metrics.csv", "config.yaml"}
    assert all((tmp_path / name).is_file() for name in names)
    assert run.average is None


def test_python_goes_on_with_tuples_for_lists(tmp_path):
    overrides = in_python(tmp_path, model={"kwargs": {"img_size": 32, "depths": (1, 1, 1, 1)}})
    train(RECIPE, **overrides)
    again = in_python(tmp_path, model=overrides["model"], trainer={"max_epochs": 2})
    run = train(RECIPE, **again, resume="auto")
    assert torch.load(run.last, weights_only=True)["global_step"] == 4
    assert yaml.safe_load(run.config.read_text())["model"]["kwargs"]["depths"] == [1, 1, 1, 1]


def test_python_names_mistakes_and_leaves_nothing(tmp_path):
    for overrides, named in (({"rounds": 3}, "'rounds'"), ({"trainer": {"max_epoch": 3}}, "'trainer.max_epoch'")):
        with pytest.raises(InputError, match=named):
            train(RECIPE, out=str(tmp_path / "run"), **overrides)
    assert not (tmp_path / "run").exists()
