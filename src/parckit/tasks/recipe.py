"""The keys of recipes, and the search for a recipe's file."""

import functools
import logging
import os
from collections.abc import Mapping
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Literal, cast

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch import Trainer

from parckit.contract import InputError
from parckit.options import Parser, Seed, Threads, read_yaml, verb_parser
from parckit.tasks.averaging import AveragingSettings
from parckit.tasks.datamodule import DataSettings
from parckit.tasks.former import RENAMED_KEYS, translate_recipe
from parckit.tasks.module import ModelSettings
from parckit.tasks.qat import QatSettings
from parckit.tasks.registry import TASKS
from parckit.tasks.task import TrainingTask
from parckit.tasks.tracking import Tracker

_log = logging.getLogger(__name__)

SHORTHANDS = {
    "--data": "--data.source",
    "--task": "--task.name",
    "--epochs": "--trainer.max_epochs",
    "--batch_size": "--data.batch_size",
    "--lr": "--model.optimizer.lr",
    "--teacher": "--task.distillation.teacher",
}
"""Short name of an option -> its full name."""

_TASK = "classify"
"""The task of a recipe that does not name one."""

_SET_BY_PARCKIT = ("logger", "callbacks", "default_root_dir", "plugins")
"""Arguments of Lightning's trainer that a recipe cannot set."""


def recipes_folder() -> Path:
    """Return the folder of the recipes in the package."""
    return Path(str(files("parckit") / "recipes"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: `name` is a path, or a recipe in the package such as `classify/digits_parcnet_xxs`.

    Raises:
        InputError: if there is no such file or recipe; lists the recipes.
    """
    folder = recipes_folder()
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")))
    raise InputError(f"--config {name}: no such file or recipe; recipes: {names}")


def read_recipe(path: Path) -> dict[str, object]:
    """Read a recipe; former keys get their present names.

    Raises:
        InputError: if the file is not YAML with groups of keys.
    """
    return translate_recipe(_read_yaml(path), name=str(path))


def _read_yaml(path: Path) -> Mapping[str, object]:
    content = read_yaml(path, name=f"--config {path}")
    if not isinstance(content, Mapping):
        raise InputError(f"--config {path}: holds {type(content).__name__}, not groups of keys")
    return cast("Mapping[str, object]", content)


class RecipeFile(ActionConfigFile):
    """The option `--config`: a path, or the name of a recipe in the package."""

    def __call__(self, parser, cfg, values, option_string=None) -> None:  # pyright: ignore
        """Read the recipe into the configuration."""
        path = find_recipe(values)
        text = yaml.safe_dump(read_recipe(path), sort_keys=False)
        try:
            super().__call__(parser, cfg, text, option_string)
            parser.check(cfg, is_complete=False)
        except (TypeError, InputError) as error:
            message = " ".join(str(error).split()).removeprefix('Parser key "config": ')
            raise InputError(f"--config {path}: {message}") from error


@functools.cache  # Lightning's trainer has so many options that it takes a tenth of a second
def recipe_parser(task: str = _TASK) -> Parser:
    """Return the parser of `parckit train` for a task. It also checks recipes and the keywords of `parckit.train`.

    All calls for a task share one parser, so nobody may change it.

    Raises:
        InputError: if there is no such task.
    """
    if task not in TASKS:
        raise InputError(f"--task.name {task}: choose from {', '.join(TASKS)}")
    short = ", ".join(f"{name} X for {full} X" for name, full in SHORTHANDS.items())
    parser = verb_parser("train", description=f"Train a network from a recipe. Short: {short}.")
    parser.shorthands, parser.renamed = SHORTHANDS, RENAMED_KEYS
    parser.add_argument("--config", action=RecipeFile, help="a shipped recipe's name or a YAML file")
    _add_run_arguments(parser, monitors=tuple(TASKS[task].monitors))
    parser.add_argument("--task.name", type=Literal[tuple(TASKS)], default=task, help="what the network is for")  # pyright: ignore[reportInvalidTypeForm]
    parser.add_class_arguments(TASKS[task], "task", instantiate=False)
    parser.add_class_arguments(ModelSettings, "model")
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(Trainer, "trainer", skip={*_SET_BY_PARCKIT}, instantiate=False)
    parser.prefer_whole_numbers()
    parser.set_defaults({"trainer.enable_model_summary": False, "trainer.log_every_n_steps": 10})
    # One process, because with more processes a step has more images. Our sampler divides the images among processes.
    parser.set_defaults({"trainer.devices": 1, "trainer.use_distributed_sampler": False})
    return parser


def _add_run_arguments(parser: ArgumentParser, *, monitors: tuple[str, ...]) -> None:
    parser.add_argument("--out", type=str, default="runs/train", help="folder of checkpoints, logs and configuration")
    parser.add_argument("--overwrite", action="store_true", help="replace the training in OUT")
    resume = "go on from a checkpoint, e.g. OUT/last.ckpt; auto: from the newest one in OUT, or start if there is none"
    parser.add_argument("--resume", type=str | None, default=None, help=resume)
    parser.add_argument("--seed", type=Seed, default=0, help="seed of weights, order and augmentation")
    threads = "number of threads per process on a CPU; null: OMP_NUM_THREADS, or an equal share of the cores"
    parser.add_argument("--threads", type=Threads | None, default=None, help=threads)  # pyright: ignore[reportOperatorIssue]
    parser.add_argument(
        "--monitor",
        type=Literal[monitors],
        default=monitors[0],
        help="validation result that decides which checkpoint is the best",
    )  # pyright: ignore[reportInvalidTypeForm]
    keep_best = "number of best checkpoints to keep; if more than one, they are averaged at the end"
    parser.add_argument("--keep_best", type=PositiveInt, default=1, help=keep_best)
    patience = "end the run after this number of validations without a better result; null: never"
    parser.add_argument("--patience", type=PositiveInt | None, default=None, help=patience)  # pyright: ignore[reportOperatorIssue]
    save_minutes = "minutes between two saves of last.ckpt inside an epoch"
    parser.add_argument("--save_minutes", type=PositiveFloat, default=15.0, help=save_minutes)
    ema = "validate and save averaged weights"
    parser.add_argument("--ema", type=AveragingSettings | None, default=None, help=ema)
    qat = "train with rounded weights and activations from the float network model.weights; {}: as usual"
    parser.add_argument("--qat", type=QatSettings | None, default=None, help=qat)
    logger = "also track the run at Weights & Biases (wandb) or MLflow; a list for both"
    parser.add_argument("--logger", type=Tracker | list[Tracker] | None, default=None, help=logger)  # pyright: ignore[reportOperatorIssue]
    match_weights = "use the mean, std and channel order that model.weights expects"
    parser.add_argument("--match_weights", type=bool, default=False, help=match_weights)


def parse_command(argv: list[str]) -> tuple[Parser, Namespace]:
    """Parse the options of `parckit train`.

    Raises:
        InputError: for anything that does not fit.
    """
    parser = recipe_parser(_task_of_command(argv))
    config = parser.parse(argv)
    check_config(parser, config)
    return parser, config


def check_config(parser: Parser, config: Namespace) -> None:
    """Refuse what jsonargparse accepts: null where the type does not allow it, and a value in place of a group.

    A `~` at the beginning of `out` is replaced here, because Lightning would replace it in some places only.

    Raises:
        InputError: naming the option.
    """
    _check_groups(config, defaults=_defaults_of(parser), name="--")
    parser.check(config)
    if not config.out:
        raise InputError("--out: is empty; name a folder")
    config.out = os.path.expanduser(config.out)  # noqa: PTH111 - Path.expanduser fails for an unknown user
    if not isinstance(config.overwrite, bool):
        raise InputError(f"--overwrite: Expected bool. Got value: {config.overwrite}")


@functools.cache  # it takes a tenth of the time that a command line takes
def _defaults_of(parser: Parser) -> Namespace:
    return parser.get_defaults()


def _check_groups(config: Namespace, *, defaults: Namespace, name: str) -> None:
    for key, group in vars(defaults).items():
        if not isinstance(group, Namespace):
            continue
        value = vars(config)[key]
        if not isinstance(value, Namespace):
            raise InputError(f"{name}{key} {value}: must be a group of keys")
        _check_groups(value, defaults=group, name=f"{name}{key}.")


def build_task(config: Namespace) -> TrainingTask:
    """Build the task of a parsed recipe.

    Raises:
        InputError: if the task refuses a setting.
    """
    parser = Parser()
    parser.add_class_arguments(TASKS[config.task.name], "task")
    settings = config.task.clone()
    settings.pop("name")
    task = cast("TrainingTask", parser.build(Namespace(task=settings)).task)
    task.head = config.model.head or task.head
    return task


def task_of_recipe(recipe: Mapping[str, object]) -> str:
    """Return the name of the task that a recipe is for."""
    group = recipe.get("task")
    return str(cast("Mapping[str, object]", group).get("name", _TASK)) if isinstance(group, Mapping) else _TASK


def _task_of_command(argv: list[str]) -> str:
    """Return the task that the options or their recipe name; the last name counts."""
    task = _TASK
    for option, following in zip_longest(argv, argv[1:], fillvalue=""):
        name, equals, joined = option.partition("=")
        value = joined if equals else following
        if name == "--config" and value:
            task = task_of_recipe(_read_yaml(find_recipe(value)))
        elif SHORTHANDS.get(name, name) == "--task.name":
            task = value
    return task
