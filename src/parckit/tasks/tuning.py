"""Tuning: train a recipe with other values of some keys, and let Optuna propose the values."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import optuna
import yaml
from jsonargparse import Namespace
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import TrialState

from parckit.contract import CONFIG, InputError, replacing, to_plain
from parckit.options import Parser, read_yaml
from parckit.tasks.errors import DivergedError
from parckit.tasks.keywords import named_as_keywords, parse_recipe
from parckit.tasks.progress import Tell
from parckit.tasks.recipe import build_task
from parckit.tasks.registry import TASKS
from parckit.tasks.train import run_training
from parckit.tasks.trainer_options import check_trainer
from parckit.tasks.tuning_space import Choices, Range, Space, parse_space

_log = logging.getLogger(__name__)

JOURNAL = "trials.log"
"""File of all trials in OUT; Optuna's own tools can read it."""
BEST_RECIPE = "best.yaml"
"""The recipe of the best trial in OUT."""
_STUDY = "parckit"
_FOLDER = "folder"
_SETTINGS = "settings"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What a tuning found.

    Attributes:
        best: folder of the best training.
        recipe: YAML file with the best training's full recipe, without `out`.
        monitor: what "best" is measured by.
        value: the best value.
        values: the best values of the keys.
        trials: folder, value (None if the training diverged or was refused) and values of the keys of every trial.
    """

    best: Path
    recipe: Path
    monitor: str
    value: float
    values: Mapping[str, object]
    trials: tuple[tuple[str, float | None, Mapping[str, object]], ...]


def tune(
    recipe: Path | str, space: Mapping[str, object], *, trials: int, tell: Tell = _log.info, **overrides: object
) -> Tuned:
    """Train a recipe `trials` times with values from `space`, and tell which were best.

    A tuning that was interrupted goes on with the same call: finished trials count, and the training that was
    interrupted resumes.

    Args:
        recipe: the name of a shipped recipe, or a YAML file.
        space: key of the recipe, such as `model.optimizer.lr` -> `{"low": 1e-4, "high": 1e-2, "log": True}` or
            `{"choices": [0.0, 0.1]}`.
        trials: how many trainings, finished ones included.
        tell: takes the lines that `parckit tune` prints.
        overrides: keys of the recipe in place of its own, as for `parckit.train`; `out` is the folder of all trials.

    Raises:
        InputError: for an unknown key or a value that does not fit, or if `out` holds another tuning.
    """
    with named_as_keywords():
        return run_trials(*parse_recipe(recipe, overrides), space=parse_space(space), trials=trials, tell=tell)


def run_trials(parser: Parser, config: Namespace, *, space: Space, trials: int, tell: Tell) -> Tuned:
    """Tune a parsed recipe; see `tune`.

    Args:
        parser: parsed the recipe.
        config: what it parsed.
        space: the values to try.
        trials: how many trainings, finished ones included.
        tell: takes lines for the user.
    """
    if trials < 1:
        raise InputError(f"trials={trials}: must be at least 1")
    if config.overwrite or config.resume is not None:
        option = "--overwrite" if config.overwrite else f"--resume {config.resume}"
        why = "is not for a tuning, which always goes on with the trainings in OUT"
        raise InputError(f"{option} {why}; delete OUT to begin a new one")
    _check_space(parser, config, space)
    out = Path(config.out)
    study = _open_study(out, config, space=space)
    was_refused = False
    while (finished := len(_finished(study))) < trials:
        trial = study.ask({key: values.distribution() for key, values in space.items()})
        folder = str(trial.user_attrs.get(_FOLDER, f"trial-{trial.number:03}"))
        trial.set_user_attr(_FOLDER, folder)
        values = _values_of(trial.params, space)
        tell(f"training {finished + 1} of {trials}, {out / folder}: {json.dumps(values)}")
        try:
            study.tell(trial, *_train(parser, config, values, folder=out / folder, tell=tell))
            was_refused = False
        except InputError as error:
            # Only values can be the reason if the training never began. A training that began goes on at the next call.
            if (out / folder / CONFIG).is_file():
                raise
            study.tell(trial, state=TrialState.FAIL)
            # Two in a row may have another reason, such as missing data, which would spoil all other trials too.
            if was_refused:
                raise
            was_refused = True
            tell(f"refused: {error}")
    return _result(study, config, space=space)


def _check_space(parser: Parser, config: Namespace, space: Space) -> None:
    """Refuse keys that the recipe does not have, and values that it does not take, before the first training."""
    for key, values in space.items():
        if key not in config or isinstance(config[key], Namespace):
            raise InputError(f"{key}: is no key of the recipe that can be tuned")
        for value in values.choices if isinstance(values, Choices) else _ends(values):
            changed = _with_values(config, {key: value})
            parser.check(changed)
            parser.build(changed)
            build_task(changed)
            check_trainer(changed.trainer, has_ema=changed.ema is not None)


def _ends(values: Range) -> tuple[float, float]:
    return (int(values.low), int(values.high)) if values.whole else (values.low, values.high)


def _with_values(config: Namespace, values: Mapping[str, object]) -> Namespace:
    changed = config.clone()
    for key, value in values.items():
        changed[key] = value
    return changed


def _train(
    parser: Parser, config: Namespace, values: Mapping[str, object], *, folder: Path, tell: Tell
) -> tuple[float | None, TrialState]:
    """Train once; return the best value of what is monitored, and how the trial ended."""
    changed = _with_values(config, {**values, "out": str(folder), "resume": "auto"})
    try:
        run = run_training(parser, changed, tell=tell)
    except DivergedError as error:
        tell(str(error))
        return None, TrialState.FAIL
    tell(f"best {config.monitor}: {run.value:.6g}")
    return run.value, TrialState.COMPLETE


def _open_study(out: Path, config: Namespace, *, space: Space) -> Study:
    """Open the trials in OUT, or begin. A trial that was interrupted is put in the queue again, with its folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    is_larger_better = TASKS[config.task.name].monitors[config.monitor]
    # A seed of its own for every start, or a tuning that goes on would propose the first values again.
    study = optuna.create_study(
        study_name=_STUDY,
        storage=JournalStorage(JournalFileBackend(str(out / JOURNAL))),
        load_if_exists=True,
        direction="maximize" if is_larger_better else "minimize",
    )
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    settings = {"monitor": config.monitor, "space": {key: to_plain(values) for key, values in space.items()}}
    former = study.user_attrs.get(_SETTINGS, settings)
    if former != json.loads(json.dumps(settings)):
        raise InputError(f"--out {out}: holds a tuning of another space or monitor; name another folder")
    study.set_user_attr(_SETTINGS, settings)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs})
    return study


def _finished(study: Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that ended, one for each folder: a trial that was interrupted has a successor.

    A trial without a folder was interrupted before it had one. It has a successor too.
    """
    trials = study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
    ended = [trial for trial in trials if _FOLDER in trial.user_attrs]
    waiting = {str(trial.user_attrs.get(_FOLDER)) for trial in study.get_trials(states=[TrialState.WAITING])}
    last = {str(trial.user_attrs.get(_FOLDER)): trial for trial in ended}
    return [trial for folder, trial in last.items() if folder not in waiting]


def _values_of(params: Mapping[str, object], space: Space) -> dict[str, object]:
    """Return the recipe's values for what Optuna proposed."""
    return {key: json.loads(str(value)) if isinstance(space[key], Choices) else value for key, value in params.items()}


def _read_config(folder: Path) -> Mapping[str, object]:
    return cast("Mapping[str, object]", read_yaml(folder / CONFIG))


def _result(study: Study, config: Namespace, *, space: Space) -> Tuned:
    out, finished = Path(config.out), _finished(study)
    scored = [trial for trial in finished if trial.value is not None]
    if not scored:
        raise InputError(f"--out {out}: every training diverged or was refused; try other values")
    sign = -1 if study.direction is optuna.study.StudyDirection.MAXIMIZE else 1
    best = min(scored, key=lambda trial: sign * cast("float", trial.value))
    folder = out / str(best.user_attrs[_FOLDER])
    # Without `out`: a training from this recipe belongs into another folder.
    recipe = {key: value for key, value in _read_config(folder).items() if key != "out"}
    with replacing(out / BEST_RECIPE) as temporary:
        temporary.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return Tuned(
        best=folder,
        recipe=out / BEST_RECIPE,
        monitor=config.monitor,
        value=cast("float", best.value),
        values=_values_of(best.params, space),
        trials=tuple(
            (str(trial.user_attrs[_FOLDER]), trial.value, _values_of(trial.params, space)) for trial in finished
        ),
    )
