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
FIRST_12 = {"map": 53.56, "map_50": 90.72}
"""Results on the first 12 test pictures, %, of the network whose results on all of them are the recorded ones."""
RECORD = ROOT / "benchmarks" / "records" / "bccd.json"


def test_it_is_that_of_the_record_and_small():
    weights = shipped_weights(NAME)
    record = json.loads(RECORD.read_text(encoding="utf-8"))["values"]["tinydet"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == record["half_sha256"]
    assert weights.stat().st_size < 4_000_000


@pytest.mark.skipif(not BCCD.is_file(), reason="BCCD (../shared/data) is not here")
def test_it_finds_the_cells_of_the_first_test_pictures(tmp_path):
    """All 72 pictures take ten seconds; the record holds their result, and benchmarks/bccd.py measures it."""
    with zipfile.ZipFile(BCCD) as archive:
        archive.extractall(tmp_path)
    annotations = tmp_path / "annotations" / "instances_test.json"
    content = json.loads(annotations.read_text(encoding="utf-8"))
    content["images"] = content["images"][:12]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [box for box in content["annotations"] if box["image_id"] in ids]
    annotations.write_text(json.dumps(content), encoding="utf-8")
    scalars = evaluate(Path(NAME), tmp_path).score.scalars
    # Other processors round in another way.
    assert {name: scalars[name] for name in FIRST_12} == pytest.approx(FIRST_12, abs=0.5)
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["values"]["tinydet"]["test_half"]
    assert {name: recorded[name] for name in FIRST_12} == pytest.approx(FIRST_12, abs=6)
