"""The keywords of `parckit.train`: how they change a recipe, and how errors name them."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import cast

from jsonargparse import Namespace

from parckit.contract import InputError, ParckitError
from parckit.options import Parser
from parckit.tasks.former import translate_recipe
from parckit.tasks.recipe import SHORTHANDS, check_config, find_recipe, read_recipe, recipe_parser, task_of_recipe

_REPLACED = ("kwargs", "head_kwargs", "options", "sizes", "class_weights")
"""Keys whose values are mappings of free or other keys: a new value replaces the former one as a whole."""

_AS_KEYWORDS = (
    (r"--config\b", "recipe"),
    (r"--resume auto\b", 'resume="auto"'),
    (r"--overwrite\b(?!:)", "overwrite=True"),
    (r"(?<![\w-])--(?=[a-z])", ""),
)
"""Pattern of an option of `parckit train` -> the keyword of `parckit.train`."""


@contextmanager
def named_as_keywords() -> Generator[None]:
    """Let errors of the body name keywords, such as `trainer.max_epochs`, instead of options of the command line."""
    try:
        yield
    except ParckitError as error:
        parts = str(error).split("`")
        for index in range(0, len(parts), 2):  # commands between backticks stay as they are
            for option, keyword in _AS_KEYWORDS:
                parts[index] = re.sub(option, keyword, parts[index])
        error.args = ("`".join(parts),)
        raise


@named_as_keywords()
def parse_recipe(recipe: Path | str, overrides: Mapping[str, object]) -> tuple[Parser, Namespace]:
    """Parse a recipe with some of its keys replaced.

    Args:
        recipe: the name of a shipped recipe, or a YAML file.
        overrides: nested as the recipe is; a group replaces only the keys that it names, as options do. Values may be
            paths.

    Raises:
        InputError: for an unknown key or a value that does not fit; names the keyword, or the file of the recipe.
    """
    path = find_recipe(str(recipe))
    content = read_recipe(path)
    in_full = _without_shorthands(cast("Mapping[str, object]", _with_text_paths(overrides)))
    changes = translate_recipe(in_full, name="keywords")
    try:
        return _parse(content, changes)
    except InputError as error:
        # If the recipe has the same fault without the keywords, it is the file's fault.
        if str(error) != _fault(content):
            raise
        raise InputError(f"{path}: {error}") from error


def _parse(recipe: Mapping[str, object], changes: Mapping[str, object]) -> tuple[Parser, Namespace]:
    merged = _merge(recipe, changes)
    parser = recipe_parser(task_of_recipe(merged))
    defaults = parser.get_defaults()
    _check_mappings(changes, defaults=defaults, prefix="")
    # jsonargparse ignores an unknown group that is empty.
    known = defaults.as_dict().keys() - {"config"}
    for key in merged.keys() - known:
        raise InputError(f"{key!r} is no key of a recipe; known are {', '.join(sorted(known))}")
    config = parser.parse_object(merged)
    check_config(parser, config)
    return parser, config


def _fault(recipe: Mapping[str, object]) -> str | None:
    """Return the error of a recipe without keywords; None if there is none."""
    try:
        _parse(recipe, {})
    except InputError as error:
        return str(error)
    return None


def _check_mappings(overrides: Mapping[str, object], *, defaults: Namespace, prefix: str) -> None:
    """Refuse keywords that are no mapping although they stand for a group of keys."""
    for key, value in overrides.items():
        group = vars(defaults).get(key)
        if not isinstance(group, Namespace):
            continue
        if not isinstance(value, Mapping):
            main_key = SHORTHANDS.get(f"--{key}", "").rpartition(".")[2]
            example = f", such as {key}={{{main_key!r}: {value!r}}}" if main_key else ""
            raise InputError(f"{prefix}{key}={value!r}: must be a mapping of keys{example}")
        _check_mappings(cast("Mapping[str, object]", value), defaults=group, prefix=f"{prefix}{key}.")


def _without_shorthands(overrides: Mapping[str, object]) -> Mapping[str, object]:
    """Return keywords in which `epochs` and other short names stand under their full names.

    Raises:
        InputError: if a key is set under both names.
    """
    result = dict(overrides)
    for option, full_option in SHORTHANDS.items():
        keyword, keys = option[2:], full_option[2:].split(".")
        if keyword not in result or keyword == keys[0]:  # `data` is the name of a group too
            continue
        value = result.pop(keyword)
        for key in reversed(keys):
            value = {key: value}
        in_full = cast("Mapping[str, object]", value)
        if _merge(result, in_full) != _merge(in_full, result):
            raise InputError(f"{keyword}: is short for {'.'.join(keys)}, which is given too; use only one of them")
        result = _merge(result, in_full)
    return result


def _with_text_paths(value: object) -> object:
    """Return a value in which paths are strings, as in YAML."""
    if isinstance(value, PathLike):
        return fspath(cast("PathLike[str]", value))
    if isinstance(value, Mapping):
        return {key: _with_text_paths(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_text_paths(item) for item in cast("list[object]", value)]
    return value


def _merge(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in changes.items():
        former = merged.get(key)
        if isinstance(former, Mapping) and isinstance(value, Mapping) and key not in _REPLACED:
            merged[key] = _merge(cast("Mapping[str, object]", former), cast("Mapping[str, object]", value))
        else:
            merged[key] = value
    return merged
