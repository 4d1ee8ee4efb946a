"""From an official training file to a recipe, by the tables of `official_keys`."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

from parckit.cli.official_keys import BASE, CONVERTED, COPIED, IDLE, REQUIRED, SAME, SWITCHES, Rule
from parckit.contract import InputError

_RULES = (*(Rule((key,), ours, lambda value: value) for key, ours in COPIED.items()), *CONVERTED)
_KNOWN = {key for rule in _RULES for key in rule.keys} | {*SAME}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmapped:
    """A key of the official file that says something a recipe of ours does not.

    Attributes:
        key: with dots.
        value: what the file gives it.
        reason: why it is not in the recipe.
    """

    key: str
    value: object
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {_as_yaml(self.value)} ({self.reason})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """A recipe, and what of the official file is not in it.

    Attributes:
        recipe: as its YAML.
        unmapped: in the order of the official file.
    """

    recipe: Mapping[str, object]
    unmapped: tuple[Unmapped, ...]


def translate(official: Mapping[str, object], *, model: str | None = None) -> Translation:
    """Turn the content of an official YAML into that of ours.

    Args:
        official: its keys, nested.
        model: the architecture by our name; None: the file's.

    Raises:
        InputError: if the file is not about classification, or says too little for a training.
    """
    options = dict(_flatten(official))
    if options.get("dataset.category", "classification") != "classification":
        raise InputError(f"dataset.category={options['dataset.category']!r}: only classification can be translated")
    effective = {key: value for key, value in options.items() if _matters(key, options)}
    ours = deepcopy(dict(BASE)) | {"model.name": model}
    reasons: dict[str, str] = {}
    for rule in _RULES:
        if not effective.keys().isdisjoint(rule.keys) and not (model and rule.ours == "model.name"):
            _apply(rule, effective, ours=ours, reasons=reasons)
    reasons |= {key: reason for key, value in effective.items() if (reason := _difference(key, value))}
    if missing := [f"{key} (for {name})" for name, key in REQUIRED.items() if ours.get(name) is None]:
        lost = [str(Unmapped(key=key, value=effective[key], reason=why)) for key, why in reasons.items()]
        raise InputError(f"does not tell {', '.join(missing)}; not understood: {'; '.join(lost) or 'nothing'}")
    unmapped = (Unmapped(key=key, value=effective[key], reason=reasons[key]) for key in effective if key in reasons)
    return Translation(recipe=_nest(ours), unmapped=tuple(unmapped))


def _flatten(nested: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flatten(cast("Mapping[str, object]", value), prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _matters(key: str, options: Mapping[str, object]) -> bool:
    """Say whether a key has an effect in the official code, given the others."""
    if any(fnmatchcase(key, pattern) for pattern in IDLE):
        return False
    for pattern, switch, value in SWITCHES:
        if match := re.match(pattern, key):
            return bool(re.fullmatch(match.expand(value), str(options.get(match.expand(switch)))))
    return True


def _apply(rule: Rule, effective: Mapping[str, object], *, ours: dict[str, object], reasons: dict[str, str]) -> None:
    """Add what a rule makes of the official keys to `ours`, or why it cannot to `reasons`."""
    try:
        value = rule.convert(*(effective.get(key) for key in (*rule.keys, *rule.given)))
    except (
        ValueError,
        ArithmeticError,
    ) as error:  # NoCounterpartError, or numbers that make no sense, such as steps of 0
        reasons.update({key: str(error) for key in rule.keys if key in effective})
        return
    if rule.ours is not None:
        ours[rule.ours] = value


def _difference(key: str, value: object) -> str | None:
    """Return why a key is lost that no rule translates; None if it is not."""
    if key in SAME and value not in SAME[key]:
        return "parckit has " + " or ".join(map(_as_yaml, SAME[key]))
    return None if key in _KNOWN else "not known"


def _as_yaml(value: object) -> str:
    return json.dumps(value, default=str)


def _nest(dotted: Mapping[str, object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for name, value in dotted.items():
        *groups, last = name.split(".")
        inner = nested
        for group in groups:
            inner = cast("dict[str, object]", inner.setdefault(group, {}))
        inner[last] = value
    return nested
