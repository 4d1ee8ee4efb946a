"""Thresholds of classes, which were chosen on validation images and go into a bundle."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from parckit.contract import DecoderSpec, InputError, NetworkSpec
from parckit.processing import make_decoder

THRESHOLD = "threshold"
_TABLE = "class_best_threshold"
"""Name of the thresholds among the tables of a record of `parckit eval`."""


def read_thresholds(path: Path, decoder: DecoderSpec, spec: NetworkSpec) -> DecoderSpec:
    """Return a decoder with the threshold of every class that a file holds; other classes keep the usual one.

    Args:
        path: JSON: a record of `parckit eval`, whose best thresholds are taken, or an object `{CLASS: NUMBER}`.
        decoder: the decoder, with the same threshold for all classes.
        spec: the network.

    Raises:
        InputError: if the file holds no thresholds of the network's classes, or the task has only one threshold.
    """
    if spec.task != "multilabel":
        raise InputError(f"--thresholds {path}: the network's task is {spec.task}; only multilabel has one per class")
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--thresholds {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"--thresholds {path}: is no JSON ({error})") from error
    by_class = _best_of_record(content)
    if by_class is None or not by_class or not all(_is_number(value) for value in by_class.values()):
        accepted = "a record of `parckit eval` on several labels, or {CLASS: NUMBER}"
        raise InputError(f"--thresholds {path}: holds no thresholds; accepted is {accepted}")
    if unknown := [label for label in by_class if label not in spec.labels]:
        raise InputError(
            f"--thresholds {path}: the network has no class {unknown[0]!r}; it has {', '.join(spec.labels)}"
        )
    usual = cast("float", decoder.defaults[THRESHOLD])
    values = tuple(float(cast("float", by_class.get(label, usual))) for label in spec.labels)
    decoder = replace(decoder, defaults={**decoder.defaults, THRESHOLD: values})
    try:
        make_decoder(decoder, spec)
    except InputError as error:
        raise InputError(f"--thresholds {path}: {error}") from error
    return decoder


def _best_of_record(content: object) -> Mapping[str, object] | None:
    """Return class -> threshold; of a record, only for classes that had images. None if there is no such thing."""
    if not isinstance(content, dict):
        return None
    plain = cast("dict[str, object]", content)
    if not isinstance(values := plain.get("values"), dict):
        return plain
    record = cast("dict[str, object]", values)
    labels, tables = record.get("labels"), record.get("tables")
    if not isinstance(labels, list) or not isinstance(tables, dict):
        return None
    best = cast("dict[str, list[object]]", tables).get(_TABLE, [])
    return {
        str(label): value for label, value in zip(cast("list[object]", labels), best, strict=False) if value is not None
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
