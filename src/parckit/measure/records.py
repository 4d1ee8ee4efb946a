"""Measured numbers as JSON files, with what is needed to repeat the measurement."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from parckit.contract import replacing
from parckit.measure.environment import describe


def write_record(path: Path, name: str, values: Mapping[str, object], *, seed: int | None, threads: int | None) -> None:
    """Write numbers as JSON, with the environment that they were measured in.

    The file is never half written: it appears when it is complete.

    Args:
        path: the file.
        name: what was measured.
        values: JSON values; NaN and infinity are refused.
        seed: seed of all random numbers in the measurement; None if there were none.
        threads: number of threads that the measurement used; None if `values` contains it.

    Raises:
        ValueError: if a value is not finite.
        TypeError: if a value has no JSON form.
    """
    record = {"name": name, "values": dict(values), "seed": seed, "threads": threads, **asdict(describe())}
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The main contents of a file that `write_record` wrote.

    Attributes:
        path: the file.
        name: what was measured.
        values: the numbers.
        machine: the processor, and the number of cores that the process could use.
        date: date and time of the measurement, UTC, ISO 8601.
        software: version of Python and of the packages, and the commit of parckit, in words.
    """

    path: Path
    name: str
    values: Mapping[str, object]
    machine: str
    date: str
    software: str


def read_records(folder: Path) -> tuple[Record, ...]:
    """Read all records in a folder, in the order of their file names. Other JSON files are ignored."""
    return tuple(record for path in sorted(folder.glob("*.json")) if (record := _read(path)) is not None)


def _read(path: Path) -> Record | None:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    keys = ("name", "values", "cpu", "usable_cores", "date")
    if not isinstance(content, dict) or not all(key in content for key in keys):
        return None
    record = cast("dict[str, object]", content)
    name, values, cpu, cores, date = (record[key] for key in keys)
    if not isinstance(values, dict):
        return None
    return Record(
        path=path,
        name=str(name),
        values=cast("dict[str, object]", values),
        machine=machine_name(cpu, cores),
        date=str(date),
        software=software_name(record),
    )


def machine_name(cpu: object, cores: object) -> str:
    """Return a machine's name for tables and captions."""
    return f"{cpu}, {cores} core{'' if cores == 1 else 's'}"


def software_name(environment: Mapping[str, object]) -> str:
    """Return the versions in an environment in words.

    Args:
        environment: the fields of `Environment`, or as many of them as a record has.
    """
    versions = environment.get("versions")
    packages = cast("Mapping[str, object]", versions) if isinstance(versions, Mapping) else {}
    python = {"Python": environment["python"]} if "python" in environment else {}
    parts = [f"{package} {version}" for package, version in {**python, **packages}.items()]
    if environment.get("commit"):
        parts.append(f"commit {environment['commit']}{' (with changes)' if environment.get('dirty') else ''}")
    return ", ".join(parts)
