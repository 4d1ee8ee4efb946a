"""The segmenter of handwritten digits that comes with the package."""

import hashlib
import json
from pathlib import Path

import pytest

from parckit import evaluate
from parckit.contract import shipped_weights
from repository import ROOT

NAME = "upernet_parc_resnet10t.digit_scenes"
FIRST_40 = 63.94
"""Mean IoU on the first 40 test scenes, %, of the network whose result on all scenes is the recorded one."""
RECORD = ROOT / "benchmarks" / "records" / "quickstart_segment.json"


def recorded():
    return json.loads(RECORD.read_text(encoding="utf-8"))["values"]["half"]


def test_it_is_that_of_the_record_and_small():
    weights = shipped_weights(NAME)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == recorded()["sha256"]
    assert weights.stat().st_size < 4_000_000


def test_it_finds_the_digits_of_the_first_test_scenes():
    """All 400 scenes take twelve seconds; the record holds their result, and benchmarks/quickstart.py measures it."""
    scalars = evaluate(Path(NAME), "digit_scenes:200").score.scalars  # a fifth is for the test
    assert scalars["miou"] == pytest.approx(FIRST_40, abs=0.3)  # other processors round in another way
    assert recorded()["test"]["miou"] == pytest.approx(FIRST_40, abs=4)
