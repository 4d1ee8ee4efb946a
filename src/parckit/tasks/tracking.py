"""Experiment trackers: Weights & Biases and MLflow, through Lightning's loggers."""

import json
import os
import textwrap
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast, final
from uuid import uuid4

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from parckit.contract import TRACKED, InputError, MissingExtraError, replacing

Tracker = Literal["wandb", "mlflow"]
"""Name of a tracker: of its package, its extra and its value of `--logger`."""

_PROJECT = "parckit"
"""Project or experiment of the runs, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME names another."""

_REASON_CHARS = 200
"""Characters of a tracker's error that a message shows."""

_BEGIN_NEW_RUNS = "delete it to begin new runs at the trackers"


@final
class TrackedRuns(Callback):
    """The tracker's run of a training: one run, also if the training goes on several times.

    OUT holds the run's identity at every tracker. All else is the trackers' own: their environment variables choose
    server, project and key. Without a server, MLflow writes to a database in OUT.

    Args:
        config: the parsed recipe.
        goes_on: whether the training that OUT holds goes on, so that its runs go on too.

    Attributes:
        loggers: what the trainer needs.

    Raises:
        InputError: if a package is missing, or the file with the identities is damaged.
    """

    def __init__(self, config: Namespace, *, goes_on: bool) -> None:
        self._config = config
        self._path = Path(config.out) / TRACKED
        self._known = _read_identities(self._path) if goes_on else {}
        names = [config.logger] if isinstance(config.logger, str) else config.logger or ()
        self._by_name = {name: self._make(name) for name in cast("Sequence[Tracker]", names)}
        self.loggers: Sequence[Logger] = tuple(self._by_name.values())
        self._opened: list[Logger] = []

    @rank_zero_only
    def open(self) -> None:
        """Open the runs, in the first process; if the training goes on, they continue.

        Lightning would open them too, but only inside `fit`, where an error of a tracker cannot be told from others.

        Raises:
            InputError: if a tracker refuses, for example because the run was deleted, or its server cannot be reached.
        """
        for name, logger in self._by_name.items():
            # The packages have many kinds of errors, of their own and of the libraries they use.
            try:
                experiment = logger.experiment
                if isinstance(logger, MLFlowLogger):
                    # MLflow finds deleted runs too. It refuses them only when something is written.
                    experiment.update_run(str(logger.version), status="RUNNING")
            except Exception as error:
                raise InputError(self._describe_refusal(name, error)) from error
            self._opened.append(logger)

    def _describe_refusal(self, name: str, error: Exception) -> str:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", _REASON_CHARS)
        if name not in self._known:
            return f"--logger {name}: no run can begin ({reason})"
        what_to_do = f"if it does not exist any more, delete {self._path} to begin a new one"
        return f"--logger {name}: run {self._known[name]} cannot be continued ({reason}); {what_to_do}"

    def _make(self, name: Tracker) -> WandbLogger | MLFlowLogger:
        try:
            return self._make_logger(name)
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"--logger {name}", package=name, extra=name) from error

    def _make_logger(self, name: Tracker) -> WandbLogger | MLFlowLogger:
        out, identity = Path(self._config.out).resolve(), self._known.get(name)
        if name == "wandb":
            project = os.environ.get("WANDB_PROJECT", _PROJECT)
            return WandbLogger(out.name, save_dir=out, id=identity or uuid4().hex[:8], project=project)
        database = f"sqlite:///{(out / 'mlflow.db').as_posix()}"
        server = os.environ.get("MLFLOW_TRACKING_URI", database)
        logger = MLFlowLogger(
            os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
            run_name=out.name,
            tracking_uri=server,
            artifact_location=(out / "mlflow").as_uri() if "MLFLOW_TRACKING_URI" not in os.environ else None,
            run_id=identity,
        )
        if identity is not None:
            _check_mlflow_run(logger, identity, server=server, identities=self._path)
        return logger

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the identities of the runs into OUT, and the configuration into new runs."""
        del trainer, pl_module
        if not self._by_name:
            return
        identities = {name: str(logger.version) for name, logger in self._by_name.items()}
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps({**self._known, **identities}) + "\n", encoding="utf-8")
        for name, logger in self._by_name.items():
            if name not in self._known:
                logger.log_hyperparams(_plain(self._config))

    @contextmanager
    def closing(self) -> Generator[None]:
        """End the runs of this process when the body ends, or the next training would go on with them."""
        code = 1
        try:
            yield
            code = 0
        finally:
            for logger in self._opened:
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish(exit_code=code)


@rank_zero_only
def _check_mlflow_run(logger: MLFlowLogger, identity: str, *, server: str, identities: Path) -> None:
    """Check that the run with which a training goes on is still at the server.

    Raises:
        InputError: if it was deleted, or the server does not answer.
    """
    try:
        is_deleted = logger.experiment.get_run(identity).info.lifecycle_stage == "deleted"
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
            raise InputError(f"--logger mlflow: {server}: {' '.join(str(error).split())}") from error
        is_deleted = True
    if is_deleted:
        advice = f"restore it, or delete {identities} to begin new runs"
        raise InputError(f"--logger mlflow: the run {identity} was deleted at {server}; {advice}")


def _read_identities(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged; {_BEGIN_NEW_RUNS}") from error
    identities = cast("Mapping[str, object]", content) if isinstance(content, Mapping) else None
    if identities is None or not all(isinstance(identity, str) for identity in identities.values()):
        raise InputError(f"{path}: is damaged; {_BEGIN_NEW_RUNS}")
    return cast("Mapping[str, str]", identities)


def _plain(config: Namespace) -> dict[str, object]:
    """Return the recipe without what is about this start alone."""
    return {name: value for name, value in config.as_dict().items() if name not in {"overwrite", "resume", "config"}}
