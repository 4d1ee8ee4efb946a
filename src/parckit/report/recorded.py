"""Accuracy and speed as a page shows them, from evaluations of now and from records of before."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, from_plain
from parckit.data import Source, name_source
from parckit.measure.evaluation import Evaluation, EvaluationData
from parckit.measure.records import Record
from parckit.measure.timings import Timing

_log = logging.getLogger(__name__)

EntryT = TypeVar("EntryT")

_NOT_SCALARS = ("images", "skipped")
"""Numbers of version 0.1.0's `eval` records that are no results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How often a network is right.

    Attributes:
        model: name of the checkpoint's file or the bundle's folder.
        artefact: name of the bundle's artefact; the checkpoint's name again for torch.
        engine: name and version.
        labels: class names by index; empty if they are not known.
        scalars: results by name; a classifier has `top1` and `top5`, percent.
        tables: results that are not scalars, by name; empty if they are not known.
        images: number of images.
        source: the data.
        options: options of `parckit eval` that choose what of the source is evaluated.
        served: what of the source was used.
        machine: where it was measured.
        date: when, UTC, ISO 8601.
    """

    model: str
    artefact: str
    engine: str
    labels: tuple[str, ...]
    scalars: Mapping[str, float]
    tables: Mapping[str, npt.NDArray[np.generic]]
    images: int
    source: str
    options: tuple[str, ...]
    served: str
    machine: str
    date: str

    @property
    def label(self) -> str:
        """Name for tables."""
        return label_of(self.model, self.artefact)

    @property
    def command(self) -> tuple[str, ...]:
        """Verb and options that measure it again, without the network."""
        return ("eval", "--data", self.source, *self.options)

    def repeats(self, other: "Accuracy") -> bool:
        """Return whether both tell of the same network, engine and data."""
        names = ("model", "artefact", "engine", "source", "served")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a network is.

    Attributes:
        model: name of the checkpoint's file or the bundle's folder; may be empty.
        artefact: name of the bundle's artefact; may be empty.
        engine: name and version.
        timings: one for each number of threads.
        machine: where it was measured.
        date: when, UTC, ISO 8601.
    """

    model: str
    artefact: str
    engine: str
    timings: tuple[Timing, ...]
    machine: str
    date: str

    @property
    def label(self) -> str:
        """Name for tables."""
        return label_of(self.model, self.artefact)

    @property
    def command(self) -> tuple[str, ...]:
        """Verb and options that measure it again, without the network."""
        return ("bench", "--threads", ",".join(str(timing.threads) for timing in self.timings))


def label_of(model: str, artefact: str) -> str:
    """Return `bundle/artefact`, or the checkpoint's name."""
    return model if artefact in ("", model) else f"{model}/{artefact}"


def accuracy_of(evaluation: Evaluation, *, model: str, machine: str, date: str) -> Accuracy:
    """Return what an evaluation of now says."""
    score = evaluation.score
    return Accuracy(
        model=model,
        artefact=evaluation.artefact,
        engine=evaluation.engine,
        labels=evaluation.labels,
        scalars=score.scalars,
        tables=score.tables,
        images=score.images,
        source=name_source(evaluation.data.source),
        options=_options(asdict(evaluation.data)),
        served=evaluation.served,
        machine=machine,
        date=date,
    )


def _options(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return the options of `parckit eval` that choose what of a source is evaluated, without the usual values.

    Args:
        data: fields of `EvaluationData`; an older record may lack some.
    """
    usual = asdict(EvaluationData(source=""))
    options: list[str] = []
    for name in usual:
        if name in ("source", "batch_size", "workers"):
            continue
        value = data.get(name, usual[name])
        if value != usual[name]:
            options += [f"--data.{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
    return tuple(options)


def record_values(evaluation: Evaluation, *, model: Path) -> dict[str, object]:
    """Return what a record of an evaluation holds; `accuracies_of` reads it.

    In tables, NaN becomes null.

    Args:
        evaluation: the evaluation.
        model: the checkpoint or bundle.
    """
    score = evaluation.score
    return {
        "task": evaluation.task,
        "labels": list(evaluation.labels),
        "scalars": dict(score.scalars),
        "tables": {name: to_json(table) for name, table in score.tables.items()},
        "images": score.images,
        "skipped": score.skipped,
        "model": str(model),
        "artefact": evaluation.artefact,
        "engine": evaluation.engine,
        "data": {**asdict(evaluation.data), "served": evaluation.served},
    }


def to_json(table: npt.NDArray[np.generic]) -> object:
    """Return an array as lists; NaN, which JSON does not have, becomes None."""
    plain = table.astype(object)
    plain[np.isnan(table.astype(np.float64))] = None
    return plain.tolist()


def accuracies_of(records: Sequence[Record]) -> tuple[Accuracy, ...]:
    """Return what the records of `parckit eval` say; one that cannot be read is left out, with a warning."""
    return tuple(_decode([record for record in records if record.name == "eval"], _read_accuracy))


def speeds_of(records: Sequence[Record]) -> tuple[Speed, ...]:
    """Return what the records of `parckit bench` say, as `accuracies_of` does."""
    decoded = _decode([record for record in records if record.name == "bench"], _read_bench)
    return tuple(speed for speeds in decoded for speed in speeds)


def _decode(records: Sequence[Record], read: Callable[[Record], EntryT]) -> list[EntryT]:
    entries: list[EntryT] = []
    for record in records:
        try:
            entries.append(read(record))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
            _log.warning("%s: left out: %s", record.path, reason)
    return entries


def _read_accuracy(record: Record) -> Accuracy:
    values = record.values
    data = cast("Mapping[str, object]", values["data"])
    # Version 0.1.0 wrote the scalars beside the other values. Its tables are not shown.
    flat = {name: value for name, value in values.items() if isinstance(value, int | float)}
    scalars = cast("Mapping[str, float]", values.get("scalars", flat))
    tables = cast("Mapping[str, object]", values.get("tables", {}))
    return Accuracy(
        model=PurePath(str(values["model"])).name,
        artefact=str(values["artefact"]),
        engine=str(values["engine"]),
        labels=tuple(map(str, cast("Sequence[object]", values.get("labels", ())))),
        scalars={name: float(value) for name, value in scalars.items() if name not in _NOT_SCALARS},
        tables={name: _to_array(table) for name, table in tables.items()},
        images=int(cast("int", values["images"])),
        source=name_source(cast("Source", data["source"])),
        options=_options(data),
        served=str(data["served"]),
        machine=record.machine,
        date=record.date,
    )


def _to_array(table: object) -> npt.NDArray[np.generic]:
    """Return the array that `to_json` wrote."""
    array = np.asarray(table)
    return array.astype(np.float64) if array.dtype == object else array


def _read_bench(record: Record) -> list[Speed]:
    # The record of one candidate is flat, the record of several has a list of them.
    listed = cast("Sequence[Mapping[str, object]]", record.values.get("candidates", [record.values]))
    return [_speed(record, entry) for entry in listed]


def _speed(record: Record, entry: Mapping[str, object]) -> Speed:
    timings = cast("Sequence[object]", entry["timings"])
    if not timings:
        raise InputError("timings: empty")
    return Speed(
        model=PurePath(str(entry["model"])).name,
        artefact=str(entry["artefact"]),
        engine=str(entry["engine"]),
        timings=tuple(from_plain(Timing, timing, name="timings") for timing in timings),
        machine=record.machine,
        date=record.date,
    )
