"""Runs at Weights & Biases and MLflow. Their packages are large, so fakes of Lightning's loggers stand in for them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lightning.pytorch.loggers import Logger

from parckit.cli.main import main
from parckit.tasks import tracking
from small_trainings import BRIEF


class FakeLogger(Logger):
    """A logger that keeps what it is given. Its experiment keeps what it is told."""

    made: "list[FakeLogger]"

    def __init__(self, name: str, *, run_id: str | None = None, **options: object) -> None:
        super().__init__()
        self.run = options.get("id") or run_id or f"mlflow-{len(self.made)}"
        self.options = {"name": name, **options}
        self.parameters: list[dict[str, object]] = []
        self.steps: list[int] = []
        self.told: list[dict[str, object]] = []
        self.experiment = SimpleNamespace(
            finish=self.tell, update_run=lambda run, **values: self.tell(**values), get_run=self.get_run
        )
        self.made.append(self)

    def get_run(self, run: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(lifecycle_stage="active"))

    def tell(self, **values: object) -> None:
        self.told.append(values)

    @property
    def name(self) -> str:
        return "fake"

    @property
    def version(self) -> str:
        return self.run

    def log_hyperparams(self, params: dict[str, object]) -> None:
        self.parameters.append(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "val_top1" in metrics:
            self.steps.append(step)


class FakeWandb(FakeLogger):
    pass


class FakeMlflow(FakeLogger):
    pass


def put_fakes(patch: pytest.MonkeyPatch) -> list[FakeLogger]:
    """Put the fakes in place; return those that were made."""
    patch.setattr(FakeLogger, "made", [], raising=False)
    patch.setattr(tracking, "WandbLogger", FakeWandb)
    patch.setattr(tracking, "MLFlowLogger", FakeMlflow)
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        patch.delenv(name, raising=False)
    return FakeLogger.made


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[FakeLogger]:
    return put_fakes(monkeypatch)


@pytest.fixture(scope="module")
def once_tracked(tmp_path_factory) -> Path:
    """Return the folder of a training that was tracked."""
    out = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        put_fakes(patch)
        main([*BRIEF, "--logger=[wandb, mlflow]", f"--out={out}"])
    return out


@pytest.fixture
def tracked(once_tracked: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of a training that was tracked."""
    return shutil.copytree(once_tracked, tmp_path / "run")


@pytest.fixture
def start(start_training: tuple[str, ...], tmp_path, parckit) -> Callable[..., None]:
    def run(*options: str) -> None:
        parckit(*start_training, "--logger=[wandb, mlflow]", "--out", tmp_path / "run", *options)

    return run


def test_one_run_is_kept_over_resumes(start, fakes, tmp_path):
    start()
    start("--resume=auto", "--trainer.max_epochs=2")
    start("--overwrite")
    wandb, mlflow, *rest = fakes
    assert [logger.run for logger in rest[:2]] == [wandb.run, mlflow.run]
    assert rest[2].run != wandb.run
    assert json.loads((tmp_path / "run" / "tracked.json").read_text()) == {"wandb": rest[2].run, "mlflow": rest[3].run}
    # The configuration is told once, to new runs; metrics go on where they ended.
    assert [len(logger.parameters) for logger in fakes] == [1, 1, 0, 0, 1, 1]
    assert wandb.parameters[0]["model"]["name"] == "test_parcnetv2"
    assert [logger.steps for logger in fakes] == [[1], [1], [3], [3], [1], [1]]
    assert (wandb.told, mlflow.told) == ([{"exit_code": 0}], [{"status": "RUNNING"}])


def test_a_run_that_fails_is_ended_too(start_training, fakes, tmp_path, mistake):
    mistake(*start_training, "--logger=wandb", "--out", tmp_path / "run", "--model.optimizer.lr=1e38", code=1)
    assert fakes[0].told == [{"exit_code": 1}]


def test_a_run_that_is_refused_opens_no_run(tracked, start_training, fakes, mistake):
    argv = (*start_training, "--logger=wandb", "--resume=auto", "--out", tracked)
    assert "only with --ema" in mistake(*argv, "--ema=null")
    assert fakes[-1].told == []


def test_the_trackers_own_variables_name_project_and_server(start, fakes, tmp_path, monkeypatch):
    start()
    wandb, mlflow = (logger.options for logger in fakes)
    assert (wandb["project"], mlflow["name"], mlflow["run_name"]) == ("parckit", "parckit", "run")
    assert mlflow["tracking_uri"] == f"sqlite:///{tmp_path}/run/mlflow.db"
    monkeypatch.setenv("WANDB_PROJECT", "flowers")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "flowers")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    start("--resume=auto")
    wandb, mlflow = (logger.options for logger in fakes[2:])
    assert (wandb["project"], mlflow["name"]) == ("flowers", "flowers")
    assert (mlflow["tracking_uri"], mlflow["artifact_location"]) == ("http://localhost:5000", None)


def test_a_missing_package_is_named(start_training, tmp_path, mistake, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")

    monkeypatch.setattr(tracking, "MLFlowLogger", refuse)
    message = mistake(*start_training, "--logger=mlflow", "--out", tmp_path / "run")
    told = "--logger mlflow: needs the package mlflow; install it with: "
    assert message == told + 'pip install "parckit[mlflow]"'
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_of_identities_is_named(tracked, start_training, mistake):
    path = tracked / "tracked.json"
    argv = (*start_training, "--logger=wandb", "--resume=auto", "--out", tracked)
    for content in ("{", '["wandb"]', '{"wandb": 3}'):
        path.write_text(content)
        assert mistake(*argv).startswith(f"{path}: is damaged")


class Refusing(FakeMlflow):
    """A logger of a tracker that refuses: a run was deleted, a key is missing, or a server cannot be reached."""

    def tell(self, **values: object) -> None:
        raise ConnectionError("no such run")


def test_a_tracker_that_refuses_is_named_and_what_to_do(tracked, start_training, tmp_path, mistake, monkeypatch):
    argv = (*start_training, "--logger=mlflow", "--resume=auto", "--trainer.max_epochs=2", "--out")
    monkeypatch.setattr(tracking, "MLFlowLogger", Refusing)
    message = mistake(*argv, tracked)
    reason, path = "(ConnectionError: no such run)", tracked / "tracked.json"
    run = json.loads(path.read_text())["mlflow"]
    told = f"--logger mlflow: run {run} cannot be continued {reason}; if it does not exist any more, delete {path}"
    assert message.startswith(told)
    assert mistake(*argv, tmp_path / "new") == f"--logger mlflow: no run can begin {reason}"


class TrackerError(Exception):
    """An error of MLflow."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_run_that_was_deleted_at_the_server_is_named(is_marked, tracked, start_training, mistake, monkeypatch):
    def get_run(self: FakeLogger, run: str) -> SimpleNamespace:
        if is_marked:
            return SimpleNamespace(info=SimpleNamespace(lifecycle_stage="deleted"))
        raise TrackerError(f"Run {run} not found")

    argv = (*start_training, "--logger=mlflow", "--resume=auto", "--out", tracked)
    monkeypatch.setattr(FakeMlflow, "get_run", get_run)
    message = mistake(*argv)
    assert message.startswith("--logger mlflow: the run mlflow-1 was deleted at sqlite:")
    monkeypatch.setattr(TrackerError, "error_code", "INTERNAL_ERROR")
    if not is_marked:
        assert "Run mlflow-1 not found" in mistake(*argv)


def test_a_recipe_may_name_a_tracker(tracked, fakes, tmp_path, parckit):
    assert yaml.safe_load((tracked / "config.yaml").read_text())["logger"] == ["wandb", "mlflow"]
    parckit("train", "--config", tracked / "config.yaml", "--out", tmp_path / "second")
    assert [type(logger) for logger in fakes] == [FakeWandb, FakeMlflow]
