"""Measured numbers on disk, with all that is needed to measure them again."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from parckit.contract import replacing
from parckit.measure.environment import describe


def write_record(path: Path, name: str, values: Mapping[str, object], *, seed: int | None, threads: int | None) -> None:
    """Write numbers as JSON, beside the environment they were measured in, whole or not at all.

    Args:
        path: the file.
        name: what was measured.
        values: JSON values; those that are not finite numbers are refused.
        seed: of everything random in the measurement; None if nothing was.
        threads: that the measurement used; None if `values` says so itself.

    Raises:
        ValueError: if a value is not finite.
        TypeError: if a value has no JSON form.
    """
    record = {"name": name, "values": dict(values), "seed": seed, "threads": threads, **asdict(describe())}
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
