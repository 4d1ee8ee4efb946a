"""What the verbs' parsers share: recipes by name, sizes and one-line errors."""

import re
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse.typing import restricted_number_type

from parckit.contract import InputError

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="what numpy accepts as a seed")

SHORTHANDS = {"--data": "--data.source", "--teacher": "--model.distillation.teacher"}

_REWORDED = (
    (r'^Parser key "([^"]+)":', r"--\1:"),
    (
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: ",
        r"Expected \1. Got value: ",
    ),
    (r"Expected a ", "Expected "),
    (r"typing\.Literal\[([^]]*)\]", r"\1"),
    (r"<class 'NoneType'>", "null"),
    (r"<class '(\w+)'>", r"\1"),
)
# jsonargparse speaks to programmers; where it words a message anew, that is shown as it is.


def parse_size(text: str) -> tuple[int, int]:
    """Turn `256x192` or `256` into (height, width), pixels.

    Raises:
        InputError: if it is neither.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise InputError(f"--size {text}: must be HEIGHTxWIDTH in pixels, or one number for a square")
    numbers = [int(part) for part in text.split("x")]
    return numbers[0], numbers[-1]


def parse_counts(text: str) -> tuple[int, ...]:
    """Turn `1,2,4` into numbers.

    Raises:
        InputError: if it is anything else.
    """
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise InputError(f"--threads {text}: must be positive numbers with commas between, e.g. 1,2,4")
    return tuple(int(part) for part in text.split(","))


def beside(artefact: Path, ending: str) -> Path:
    """Return the path of a file about a checkpoint or bundle, in the folder that holds it."""
    whole = artefact.resolve()
    return whole.with_name((whole.name if whole.is_dir() else whole.stem) + ending)


def recipes_folder() -> Path:
    """Return the folder of the recipes that ship with the package."""
    return Path(str(files("parckit") / "recipes"))


def find_recipe(name: str) -> Path:
    """Return the file of a shipped recipe such as `classify/digits_parcnet_xxs`, or of a path.

    Raises:
        InputError: if there is neither; lists the shipped ones.
    """
    folder = recipes_folder()
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")))
    raise InputError(f"--config {name}: no such file or recipe; recipes: {names}")


class RecipeFile(ActionConfigFile):
    """`--config`: a path, or the name of a shipped recipe."""

    def __call__(self, parser, cfg, values, option_string=None) -> None:  # pyright: ignore
        """Apply the configuration file."""
        path = find_recipe(values)
        try:
            super().__call__(parser, cfg, str(path), option_string)
        except (TypeError, UnicodeDecodeError, InputError) as error:
            raise InputError(f"--config {path}: {' '.join(str(error).split())}") from error


class Parser(ArgumentParser):
    """A parser whose mistakes are one line; it knows `SHORTHANDS`, and hyphens in options' names."""

    def read(self, argv: list[str]) -> Namespace:
        """Parse and build the dataclasses of the arguments.

        Raises:
            InputError: for anything that does not fit.
        """
        return self.build(self.parse(argv))

    def parse(self, argv: list[str]) -> Namespace:
        """Parse into plain values, as `save` writes them.

        Raises:
            InputError: for anything that does not fit.
        """
        options = argv[: argv.index("--")] if "--" in argv else argv
        return self.parse_args([*map(_in_full, options), *argv[len(options) :]])

    def build(self, config: Namespace) -> Namespace:
        """Turn parsed groups into the objects they describe.

        Raises:
            InputError: if one of them refuses a value.
        """
        try:
            return self.instantiate(config)
        except ValueError as error:  # what an optional object refuses comes wrapped
            raise error.__cause__ if isinstance(error.__cause__, InputError) else error from None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message's essence.

        Raises:
            InputError: always.
        """
        lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
        text = " ".join(lines)
        for pattern, replacement in _REWORDED:
            text = re.sub(pattern, replacement, text)
        raise InputError(text) from ex


def verb_parser(verb: str, *, description: str) -> Parser:
    """Return an empty parser for a verb; options must be written out, for an abbreviation may be a typing mistake."""
    return Parser(prog=f"parckit {verb}", description=description, allow_abbrev=False)


def _in_full(arg: str) -> str:
    name, equals, value = arg.partition("=")
    if name.startswith("--"):
        name = "--" + name[2:].replace("-", "_")
    return SHORTHANDS.get(name, name) + equals + value
