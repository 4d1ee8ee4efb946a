"""Checks in words: what was compared, and by how much it differs."""

from dataclasses import replace

import pytest

from bundles import write_tiny_bundle
from parckit.contract import Artefact, Check, DecoderSpec, OutputSpec, read_contract
from parckit.processing import CLASS_MAP, DETECTIONS
from parckit.report.checks import describe_check, describe_failure


@pytest.fixture
def artefact(tmp_path) -> Artefact:
    return read_contract(write_tiny_bundle(tmp_path / "bundle")).artefacts[0]


CHECK = Check(engine="x", version="1", passed=True, figures={"max_abs": 0.00012, "tolerance": 0.02})


def test_int8_is_compared_with_float32_or_with_what_was_trained(artefact):
    int8 = replace(artefact, precision="int8", calibration=None)
    assert describe_check(CHECK, int8).compared_with == "float32"
    trained = replace(int8, options={"quantization": "trained"})
    assert describe_check(CHECK, trained).compared_with == "torch with fake quantizers"


def test_numbers_are_compared_with_torch(artefact):
    text = describe_check(CHECK, artefact)
    assert (text.compared_with, text.difference, text.accepted) == ("torch", "1.2e-04", "2.0e-02")
    assert (text.engine, text.result, text.memory, text.mean, text.agreement) == ("x 1", "equal", "", "", "")
    figures = {**CHECK.figures, "mean_abs": 0.00001, "cosine": 0.9999, "agreement": 0.75, "peak_memory_bytes": 2e6}
    text = describe_check(replace(CHECK, figures=figures), artefact)
    assert (text.mean, text.cosine, text.agreement, text.memory) == ("1.0e-05", "0.999900", "75.0%", "2 MB")


def test_of_classes_of_pixels_a_share_differs_from_the_raw_maps(artefact):
    artefact = replace(artefact, decoder=DecoderSpec(name=CLASS_MAP), options={"argmax": True})
    text = describe_check(CHECK, artefact)
    assert (text.difference, text.accepted) == ("0.012 % of the pixels", "2 % of the pixels")
    assert text.compared_with == "the raw maps decoded in numpy"


def test_of_detections_a_share_differs(artefact):
    boxes = OutputSpec(name="boxes", dtype="float32", layout="DC", shape=(None, 4))
    artefact = replace(artefact, outputs=(boxes,), decoder=DecoderSpec(name=DETECTIONS))
    text = describe_check(CHECK, artefact)
    assert (text.compared_with, text.difference) == ("torch", "0.012 % of the detections")


@pytest.mark.parametrize(
    ("cosine", "text"),
    [(0.5, "0.500000"), (0.99998949, "0.999989"), (0.9999899, "0.9999899"), (0.9999899999996, "0.9999899999996")],
)
def test_a_cosine_that_is_too_low_looks_lower(artefact, cosine, text):
    check = Check(
        engine="x", version="1", passed=False, figures={"images": 4, "cosine": cosine, "least_cosine": 0.99999}
    )
    assert describe_failure(check, artefact).endswith(f"the lowest cosine is {text}, accepted is 0.99999")
