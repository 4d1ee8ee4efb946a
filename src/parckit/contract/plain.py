"""From plain data, as JSON and `weights_only` checkpoints hold it, to dataclasses, and back.

Every field of a dataclass is checked against its type hint, so that a file that was edited by hand gives one clear
line and never a wrong number.
"""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from parckit.contract.errors import InputError

DataT = TypeVar("DataT")

ADDED_LATER: Mapping[str, object] = {"added_later": True}
"""Metadata of a dataclass field that is younger than its schema: `field(default=..., metadata=ADDED_LATER)`.

Older files have no such field; they get its default, which must mean what those files meant. Every other field must be
in the file, even if the dataclass has a default for it. So a field that is missing by mistake is never guessed.
"""


def to_plain(value: object) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return dataclasses and mappings as dicts, tuples as lists and everything else as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in cast("Sequence[object]", value)]
    return value


def from_plain(kind: type[DataT], data: object, *, name: str) -> DataT:
    """Build a dataclass from the dict that `to_plain` made of it.

    Args:
        kind: the dataclass.
        data: its plain form; it must hold every field that is not `ADDED_LATER`, and nothing else.
        name: what an error calls it.

    Raises:
        InputError: naming the field, if one is missing, unknown, or has a value that does not fit its type.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{name}: holds {_describe(data)}, not an object with named fields")
    plain = cast("Mapping[str, object]", data)
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(cast("Any", kind))}
    for unknown in (key for key in plain if key not in known):
        raise InputError(f"{name}: {unknown!r} is unknown; known are {', '.join(known)}")
    for missing in (key for key, field in known.items() if key not in plain and "added_later" not in field.metadata):
        raise InputError(f"{name}: has no {missing!r}")
    values = {key: _convert(hints[key], value, name=f"{name}.{key}") for key, value in plain.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _convert(hint: Any, value: object, *, name: str) -> object:  # noqa: ANN401 - a type hint has no narrower type
    """Return a value in the form that a type hint asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in (object, Any):
        return value
    if origin in (Union, types.UnionType):
        return _convert_optional(arguments, value, name=name)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{name}: {value!r} is not one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, name=name)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{name}: holds {_describe(value)}, not an object with named fields")
        items = cast("Mapping[str, object]", value).items()
        return {str(key): _convert(arguments[1], item, name=f"{name}.{key}") for key, item in items}
    if is_dataclass(hint):
        return from_plain(cast("type[object]", hint), value, name=name)
    return _convert_scalar(hint, value, name=name)


def _convert_optional(choices: Sequence[Any], value: object, *, name: str) -> object:
    """Return a value of a hint such as `int | None`."""
    if value is None and type(None) in choices:
        return None
    problems: list[InputError] = []
    for choice in (choice for choice in choices if choice is not type(None)):
        try:
            return _convert(choice, value, name=name)
        except InputError as error:
            problems.append(error)
    raise problems[0]


def _convert_tuple(arguments: Sequence[Any], value: object, *, name: str) -> tuple[object, ...]:
    """Return a tuple of any length, `tuple[int, ...]`, or of a fixed one, `tuple[int, int]`."""
    if not isinstance(value, list | tuple):
        raise InputError(f"{name}: holds {_describe(value)}, not a list")
    items = cast("Sequence[object]", value)
    hints = [arguments[0]] * len(items) if arguments[1:] == (Ellipsis,) else arguments
    if len(items) != len(hints):
        raise InputError(f"{name}: holds {len(items)} values, not {len(hints)}")
    pairs = enumerate(zip(hints, items, strict=True))
    return tuple(_convert(hint, item, name=f"{name}[{index}]") for index, (hint, item) in pairs)


def _convert_scalar(hint: type[object], value: object, *, name: str) -> object:
    """Return a string, finite number or truth value; a whole number serves as a float, but True is no number."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name}: holds {value}, not a finite number")
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{name}: holds {_describe(value)}, not {hint.__name__}")
    return value


def _describe(value: object) -> str:
    return "nothing (null)" if value is None else f"{value!r}"[:60]
