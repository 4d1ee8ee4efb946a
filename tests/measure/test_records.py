import json

import pytest

from parckit.measure.records import write_record


def test_a_record_says_how_it_was_measured(tmp_path):
    path = tmp_path / "records" / "speed.json"
    write_record(path, "speed", {"p50_ms": 1.5, "sizes": [1, 2]}, seed=7, threads=2)
    record = json.loads(path.read_text())
    assert record["name"] == "speed"
    assert record["values"] == {"p50_ms": 1.5, "sizes": [1, 2]}
    assert (record["seed"], record["threads"]) == (7, 2)
    assert {"commit", "cpu", "versions", "date", "python", "system", "memory_bytes"} <= record.keys()
    assert [file.name for file in path.parent.iterdir()] == ["speed.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_hold_is_refused_and_an_old_record_stays(tmp_path, value):
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError), match="JSON"):
        write_record(path, "r", {"x": value}, seed=0, threads=None)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
