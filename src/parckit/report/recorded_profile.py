"""Profiles as a page shows them, from the records of `parckit bench --profile`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import cast

from parckit.contract import from_plain
from parckit.measure.profiling import Profile
from parckit.measure.records import Record
from parckit.report.recorded import decode_records, label_of, recorded_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiled:
    """Where the time of a network goes.

    Attributes:
        model: name of the checkpoint's file or the bundle's folder.
        artefact: name of the bundle's artefact.
        engine: name, perhaps with the version.
        profile: the profile.
        record: name of the record.
        machine: where it was measured.
        date: when, UTC, ISO 8601.
        sha256: digest of the files that were measured; None if the record does not tell.
    """

    model: str
    artefact: str
    engine: str
    profile: Profile
    record: str
    machine: str
    date: str
    sha256: str | None

    @property
    def title(self) -> str:
        """Name for pictures: the network and the engine."""
        return f"{label_of(self.model, self.artefact)} on {self.engine.split()[0]}"

    @property
    def bench_record(self) -> str:
        """Name of the record of the latency that the same command wrote."""
        return f"{self.record.removesuffix('.json').removesuffix('_profile')}.json"


def profiles_of(records: Sequence[Record]) -> tuple[Profiled, ...]:
    """Return the profiles in records; a record that cannot be read is left out, with a warning.

    Older versions wrote the profiles into the record of the latency.
    """
    decoded = decode_records([record for record in records if record.name in ("bench", "profile")], _read)
    return tuple(profiled for entries in decoded for profiled in entries)


def _read(record: Record) -> list[Profiled]:
    values = record.values
    entries = cast("Sequence[Mapping[str, object]]", values.get("profiles", ()))
    # In a record of the latency, the list of candidates tells the network of a profile.
    listed = cast("Sequence[Mapping[str, object]]", values.get("candidates", [values]))
    networks = {str(network.get("name")): network for network in listed}
    return [_profiled(record, entry, networks.get(str(entry["candidate"]), entry)) for entry in entries]


def _profiled(record: Record, entry: Mapping[str, object], network: Mapping[str, object]) -> Profiled:
    names = {field.name for field in fields(Profile)}
    profile = {name: value for name, value in entry.items() if name in names}
    return Profiled(
        model=PurePath(str(network["model"])).name,
        artefact=str(network["artefact"]),
        engine=str(network["engine"]),
        profile=from_plain(Profile, profile, name="profiles"),
        record=record.path.name,
        machine=record.machine,
        date=record.date,
        sha256=recorded_digest(network),
    )
