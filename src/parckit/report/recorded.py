"""Accuracy as a page shows it, from evaluations of now and from records of before."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from parckit.data import Source, name_source
from parckit.measure.evaluation import Evaluation, EvaluationData
from parckit.measure.records import Record

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
        record: name of the record; empty if it was measured now.
        sha256: digest of the files that were measured; None if the record does not tell.
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
    record: str = ""
    sha256: str | None = None

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
        sha256=evaluation.sha256,
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
        "sha256": evaluation.sha256,
        "data": {**asdict(evaluation.data), "served": evaluation.served},
    }


def to_json(table: npt.NDArray[np.generic]) -> object:
    """Return an array as lists; NaN, which JSON does not have, becomes None."""
    plain = table.astype(object)
    plain[np.isnan(table.astype(np.float64))] = None
    return plain.tolist()


def accuracies_of(records: Sequence[Record]) -> tuple[Accuracy, ...]:
    """Return what the records of `parckit eval` say; one that cannot be read is left out, with a warning."""
    return tuple(decode_records([record for record in records if record.name == "eval"], _read_accuracy))


def decode_records(records: Sequence[Record], read: Callable[[Record], EntryT]) -> list[EntryT]:
    """Return what a function reads from records; a record that it cannot read is left out, with a warning."""
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
        record=record.path.name,
        sha256=recorded_digest(values),
    )


def recorded_digest(values: Mapping[str, object]) -> str | None:
    """Return the digest of the files that a record is about. Versions before 0.2.0 wrote none."""
    return str(values["sha256"]) if values.get("sha256") else None


def _to_array(table: object) -> npt.NDArray[np.generic]:
    """Return the array that `to_json` wrote."""
    array = np.asarray(table)
    return array.astype(np.float64) if array.dtype == object else array
