"""`parckit recipe`: recipes from other people's training files."""

import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from parckit.cli.official_recipe import translate
from parckit.cli.parsing import verb_parser
from parckit.contract import InputError, replacing

_FROM_OFFICIAL = "from-official"


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("recipe", description="Recipes from other people's training files.")
    official = verb_parser(f"recipe {_FROM_OFFICIAL}", description="Turn an official (cvnets) YAML into a recipe.")
    official.add_argument("file", type=Path, help="the official YAML")
    official.add_argument("--out", type=Path | None, default=None, help="the recipe to write; by default it is printed")
    official.add_argument("--model", type=str | None, default=None, help="the model; by default as the file names it")
    official.add_argument("--strict", action="store_true", help="refuse a file that is not translated whole")
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand(_FROM_OFFICIAL, official, help="turn an official (cvnets) YAML into a recipe")
    args = parser.read(argv)[_FROM_OFFICIAL]
    recipe = from_official(args.file, model=args.model, strict=args.strict)
    if args.out is None:
        print(recipe, end="")
        return
    with replacing(args.out) as temporary:
        temporary.write_text(recipe, encoding="utf-8")
    print(f"recipe: {args.out}")


def from_official(file: Path, *, model: str | None = None, strict: bool = False) -> str:
    """Return an official YAML as a recipe's text; tell on standard error what is not in it.

    Args:
        file: the official YAML.
        model: its model by our name; None: as the file names it.
        strict: refuse a file of which something would be lost.

    Raises:
        InputError: if the file cannot be read or translated.
    """
    try:
        translation = translate(_read(file), model=model)
        text = yaml.safe_dump(translation.recipe, sort_keys=False, default_flow_style=None, width=120)
        _check(text)
    except (InputError, yaml.YAMLError) as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from error
    if strict and translation.unmapped:
        raise InputError(f"{file}: not in the recipe: {'; '.join(map(str, translation.unmapped))}")
    for unmapped in translation.unmapped:
        print(f"{file}: not in the recipe: {unmapped}", file=sys.stderr)
    return f"# From {file.name}, an official YAML.\n{text}"


def _check(recipe: str) -> None:
    """Parse a recipe and build what its training would, but for the images and the trainer.

    Raises:
        InputError: if a value is refused.
    """
    from parckit.cli.train import make_parser
    from parckit.contract import Preprocessing
    from parckit.data import Augment, MultiScale
    from parckit.tasks import Averaging, ClassifyTask, Optimizer, Schedule

    config = make_parser().parse_string(recipe)
    Augment(**config.data.augment.as_dict())
    if config.data.sizes is not None:
        MultiScale(**config.data.sizes.as_dict())
    if config.ema is not None:
        Averaging(**config.ema.as_dict())
    optimizer = Optimizer(**config.model.optimizer.as_dict())
    task = ClassifyTask(
        name=config.model.name,
        kwargs=config.model.kwargs,
        labels=("one", "another"),
        preprocessing=Preprocessing(**config.data.preprocessing.as_dict()),
        optimizer=optimizer,
        schedule=Schedule(**config.model.schedule.as_dict()),
        label_smoothing=config.model.label_smoothing,
    )
    optimizer.build(task.model, lr=optimizer.lr)


def _read(file: Path) -> Mapping[str, object]:
    content = yaml.safe_load(file.read_bytes())
    if not isinstance(content, Mapping):
        raise InputError(f"holds {type(content).__name__}, not the groups of options that are wanted")
    return content
