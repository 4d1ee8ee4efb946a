"""The detector of blood cells that comes with the package."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from parckit import evaluate
from parckit.contract import shipped_weights
from repository import ROOT

NAME = "tinydet_parcnet_xs.bccd"
BCCD = ROOT.parent / "shared" / "data" / "bccd.zip"
RECORD = ROOT / "benchmarks" / "records" / "bccd.json"


def test_it_is_that_of_the_record_and_small():
    weights = shipped_weights(NAME)
    record = json.loads(RECORD.read_text(encoding="utf-8"))["values"]["tinydet"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == record["half_sha256"]
    assert weights.stat().st_size < 4_000_000


@pytest.mark.skipif(not BCCD.is_file(), reason="BCCD (../shared/data) is not here")
def test_it_finds_the_cells_of_the_test_pictures(tmp_path):
    with zipfile.ZipFile(BCCD) as archive:
        archive.extractall(tmp_path)
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["values"]["tinydet"]["test_half"]
    scalars = evaluate(Path(NAME), tmp_path).score.scalars
    # Other processors round in another way.
    assert {name: scalars[name] for name in ("map", "map_50")} == pytest.approx(
        {name: recorded[name] for name in ("map", "map_50")}, abs=0.3
    )
