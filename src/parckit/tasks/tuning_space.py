"""Which values a tuning tries."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from parckit.contract import InputError, from_plain
from parckit.options import read_yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Numbers to try.

    Attributes:
        low: smallest value.
        high: largest value.
        log: draw from a logarithmic scale.
        whole: draw whole numbers only.

    Raises:
        InputError: if `low` is not below `high`, or not positive where the scale is logarithmic.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise InputError(f"low={self.low}, high={self.high}: low must be below high, and above 0 if log is true")
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise InputError(f"low={self.low}, high={self.high}: must be whole numbers, because whole is true")

    def distribution(self) -> BaseDistribution:
        """Return Optuna's form of it."""
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Values to try, of any kind that a recipe holds.

    Raises:
        InputError: if there are fewer than two.
    """

    choices: tuple[object, ...]

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise InputError(f"choices={list(self.choices)}: need at least two")

    def distribution(self) -> BaseDistribution:
        """Return Optuna's form of it: it stores only plain values, so each value is written as JSON."""
        return CategoricalDistribution([json.dumps(choice) for choice in self.choices])


Space = Mapping[str, Range | Choices]
"""Key of the recipe, such as `model.optimizer.lr` -> the values to try."""


def read_space(path: Path) -> Space:
    """Read a YAML file: `KEY: {low: 1.0e-4, high: 1.0e-2, log: true}` or `KEY: {choices: [0.0, 0.1]}`.

    Raises:
        InputError: if the file is missing, or is not so.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: must name keys of the recipe, such as model.optimizer.lr: {{low: 1.0e-4, high: 1}}")
    return parse_space(cast("Mapping[str, object]", content), name=str(path))


def parse_space(space: Mapping[str, object], *, name: str = "space") -> Space:
    """Check a space in plain form; see `read_space`.

    Raises:
        InputError: if a key has no values, or wrong ones.
    """
    parsed: dict[str, Range | Choices] = {}
    for key, values in space.items():
        is_choice = isinstance(values, Mapping) and "choices" in values
        usual: Mapping[str, object] = {} if is_choice else {"log": False, "whole": False}
        plain = {**usual, **cast("Mapping[str, object]", values)} if isinstance(values, Mapping) else values
        parsed[str(key)] = from_plain(Choices if is_choice else Range, plain, name=f"{name}: {key}")
    return parsed
