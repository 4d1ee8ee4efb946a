"""Options under the names that their keys had in an older version."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import yaml

from parckit.contract import InputError

_log = logging.getLogger(__name__)


def rename_options(options: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Return options under today's names, with one warning for every former name.

    A group may also come as a whole: `--model={mixing: null}` becomes `--task.mixing=null`.

    Args:
        options: `--NAME=VALUE`, or `--NAME` and then `VALUE`.
        renamed: former name of a key -> today's name. These options take a value.

    Raises:
        InputError: if one key is set under its former name and under today's name.
    """
    if not renamed:
        return list(options)
    result: list[str] = []
    former_keys: list[tuple[str, str]] = []
    """Keys that are set under a former name: today's name of the key, and the option."""
    present_keys: list[str] = []
    for option in _split_groups(_join_values(options, renamed), renamed):
        name, equals, value = option.partition("=")
        present = _present_name(name, renamed)
        if present == name:
            present_keys += _keys(name, value) if name.startswith("--") else []
        else:
            _log.warning("%s is now called %s", name, present)
            former_keys += [(key, name) for key in _keys(present, value)]
        result.append(present + equals + value)
    for key, former in former_keys:
        for other in present_keys:
            # A key and a group that contains it are the same key too.
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise InputError(
                    f"{former}, {other}: {former} is now called {_present_name(former, renamed)}; use only the new name"
                )
    return result


def _join_values(options: Sequence[str], renamed: Mapping[str, str]) -> Iterator[str]:
    """Yield the options that `renamed` is about as `--NAME=VALUE`, and all others as they are."""
    names = {f"--{key}" for key in (*renamed, *renamed.values())}
    groups = {name.rpartition(".")[0] for name in names} - {""}
    remaining = iter(options)
    for option in remaining:
        is_renamed = option in groups or any(f"{option}.".startswith(f"{name}.") for name in names)
        value = next(remaining, None) if is_renamed and "=" not in option else None
        if value is None:
            yield option
        elif value.startswith("--"):  # the value is missing; the parser says so
            yield from (option, value)
        else:
            yield f"{option}={value}"


def _split_groups(options: Iterator[str], renamed: Mapping[str, str]) -> Iterator[str]:
    """Yield options; former keys inside the value of a group become options."""
    groups = {f"--{former.rpartition('.')[0]}" for former in renamed}
    for option in options:
        name, _, value = option.partition("=")
        keys = _read_group(value) if name in groups else {}
        moved = {key: keys.pop(key) for key in tuple(keys) if f"{name[2:]}.{key}" in renamed}
        if not moved:
            yield option
            continue
        if keys:
            yield f"{name}={_to_yaml(keys)}"
        yield from (f"{name}.{key}={_to_yaml(value)}" for key, value in moved.items())


def _present_name(name: str, renamed: Mapping[str, str]) -> str:
    for former, present in renamed.items():
        if name == f"--{former}" or name.startswith(f"--{former}."):
            return f"--{present}{name[len(former) + 2 :]}"
    return name


def _keys(name: str, value: object) -> list[str]:
    """Return the keys that an option sets: the option's name, or the names of all keys in a group."""
    group = _read_group(value) if isinstance(value, str) else value
    if not isinstance(group, Mapping) or not group:
        return [name]
    return [key for part, item in cast("Mapping[str, object]", group).items() for key in _keys(f"{name}.{part}", item)]


def _read_group(value: str) -> dict[str, object]:
    """Return the keys of a group from YAML or JSON, or from a file with it; no keys if it is no group."""
    # ValueError: for example a date that does not exist; RecursionError: very many brackets.
    with suppress(yaml.YAMLError, ValueError, RecursionError, OSError):
        content = yaml.safe_load(value)
        if isinstance(content, str) and Path(content).is_file():
            content = yaml.safe_load(Path(content).read_bytes())
        if isinstance(content, Mapping):
            return dict(cast("Mapping[str, object]", content))
    return {}


def _to_yaml(value: object) -> str:
    # PyYAML ends a document that is a plain number or word with three dots.
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False).strip().removesuffix("\n...")
