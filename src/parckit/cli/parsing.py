"""What the verbs' parsers share: recipes by name, sizes, and one-line errors."""

import re
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser
from jsonargparse.typing import restricted_string_type

from parckit.contract import InputError

Size = restricted_string_type("Size", r"^[1-9]\d*(x[1-9]\d*)?$", docstring="HEIGHTxWIDTH in pixels, or one number")


def parse_size(text: str) -> tuple[int, int]:
    """Turn `256x192` or `256` into (height, width), pixels."""
    numbers = [int(part) for part in re.split("x", text)]
    return numbers[0], numbers[-1]


def recipes_folder() -> Path:
    """Return the folder of the recipes that ship with the package."""
    return Path(str(files("parckit") / "recipes"))


def find_recipe(name: str) -> Path:
    """Return the file of a shipped recipe such as `classify/digits_parcnet_xxs`, or of a path.

    Raises:
        InputError: if there is neither; lists the shipped ones.
    """
    shipped = recipes_folder() / f"{name}.yaml"
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    folder = recipes_folder()
    names = ", ".join(sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")))
    raise InputError(f"--config {name}: no such file or recipe; recipes: {names}")


class RecipeFile(ActionConfigFile):
    """`--config`: a path, or the name of a shipped recipe."""

    def __call__(self, parser, cfg, values, option_string=None) -> None:  # pyright: ignore
        """Apply the configuration file."""
        super().__call__(parser, cfg, str(find_recipe(values)), option_string)


class Parser(ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message's essence.

        Raises:
            InputError: always.
        """
        lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
        raise InputError(f"{self.prog.removeprefix('parckit ')}: {' '.join(lines)}") from ex
