"""Reading a YAML file that a user wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from parckit.contract import InputError

_MOST_VALUES = 100_000
"""Most values of a file: a recipe with the weights of 20,000 classes is far below."""


def read_yaml(path: Path, *, name: str | None = None) -> object:
    """Return the content of a YAML file.

    Args:
        path: the file.
        name: what errors call it, such as `--config FILE`; None: its path.

    Raises:
        InputError: if the file is no YAML, or its references make it endless.
    """
    name = str(path) if name is None else name
    try:
        content: object = yaml.safe_load(path.read_bytes())
    # A date that does not exist and a number of thousands of digits are errors of Python, not of PyYAML.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: not YAML ({' '.join(str(error).split())})") from error
    _check_size(content, name=name)
    return content


def _check_size(content: object, *, name: str) -> None:
    """Refuse YAML whose references make it endless, or millions of values of a few lines.

    Raises:
        InputError: if there are more values than any recipe has.
    """
    values, count = [content], 0
    while values:
        value, count = values.pop(), count + 1
        if count > _MOST_VALUES:
            raise InputError(f"{name}: holds more than {_MOST_VALUES} values; its references (*) repeat them")
        if isinstance(value, Mapping):
            values += cast("Mapping[object, object]", value).values()
        elif isinstance(value, list):
            values += cast("list[object]", value)
