"""The segmenter of handwritten digits that comes with the package."""

import hashlib
import json
from pathlib import Path

import pytest

from parckit import evaluate
from parckit.contract import shipped_weights
from repository import ROOT

NAME = "upernet_parc_resnet10t.digit_scenes"
RECORD = ROOT / "benchmarks" / "records" / "quickstart_segment.json"


def recorded():
    return json.loads(RECORD.read_text(encoding="utf-8"))["values"]["half"]


def test_it_is_that_of_the_record_and_small():
    weights = shipped_weights(NAME)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == recorded()["sha256"]
    assert weights.stat().st_size < 4_000_000


def test_it_finds_the_digits_of_the_test_scenes():
    scalars = evaluate(Path(NAME), "digit_scenes").score.scalars
    # Other processors round in another way.
    assert scalars["miou"] == pytest.approx(recorded()["test"]["miou"], abs=0.3)
