from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bundles import LABELS, MODEL, WEIGHT, tiny_spec, write_tiny_bundle, write_tiny_graph
from parckit.contract import Artefact, InputError, ParckitError, read_contract
from parckit.deploy import ExportError, unrun, verify
from parckit.measure.memory import peak_memory
from parckit.measure.parity import compare
from parckit.measure.tolerance import TOLERANCES
from parckit.report.checks import describe_failure
from parckit.runtimes import find_engine
from parckit.runtimes.session import ArtefactSession


def tiny_network(weight: np.ndarray = WEIGHT) -> nn.Module:
    """Return a network of the tiny bundle's form."""
    linear = nn.Linear(*weight.shape, bias=False)
    linear.weight.data = torch.from_numpy(weight.T.copy())
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


@pytest.fixture
def artefact(tmp_path, monkeypatch) -> Artefact:
    """An artefact in `tmp_path`, whose memory is not measured, because that takes a second."""
    monkeypatch.setattr(verify, "peak_memory", lambda *args, **options: 1)
    return read_contract(write_tiny_bundle(tmp_path)).artefacts[0]


def test_equal_answers_and_the_cosine_decide_too(artefact, tmp_path):
    """A large tolerance of numbers does not excuse other answers."""
    loose = replace(TOLERANCES["fp32"], numbers=9.0)
    for weight, passed in ((WEIGHT, True), (-WEIGHT, False)):
        reference = verify.Reference(tiny_network(weight), tiny_spec())
        check = verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime", tolerance=loose)
        assert check.passed is passed
        assert (check.figures["least_agreement"], check.figures["least_cosine"]) == (loose.agreement, loose.cosine)
    assert (check.figures["agreement"], check.figures["cosine"]) == (0, pytest.approx(-1))
    assert describe_failure(check, artefact) == (
        "onnx-fp32 differs from torch over 8 images; only 0.0% of the answers are the same, accepted is 99.9%; "
        "the lowest cosine is -1.000000, accepted is 0.99999"
    )


def test_an_output_of_another_shape_fails_in_words(artefact, tmp_path):
    reference = verify.Reference(tiny_network(WEIGHT[:, :3]), tiny_spec())
    check = verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime")
    assert check.passed is False
    assert "over 8 images; logits has the shape (8, 4) instead of (8, 3)" in describe_failure(check, artefact)


def test_a_free_number_of_images_is_checked_with_one_image_too(artefact, tmp_path, monkeypatch):
    write_tiny_graph(tmp_path / MODEL, batch="batch")
    output = replace(artefact.outputs[0], shape=(None, len(LABELS)))
    free = replace(artefact, input=replace(artefact.input, shape=(None, *artefact.input.shape[1:])), outputs=(output,))
    reference = verify.Reference(tiny_network(), tiny_spec())
    assert verify.check_artefact(reference, free, folder=tmp_path, engine="onnxruntime").passed
    monkeypatch.setattr(verify, "_run", lambda run, images: tuple(one + (len(images) == 1) for one in run(images)))
    assert not verify.check_artefact(reference, free, folder=tmp_path, engine="onnxruntime").passed


def test_an_error_of_the_engine_is_one_line(artefact, tmp_path, monkeypatch):
    def fail(images: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("wrong\n dimension")

    session = ArtefactSession(artefact, tiny_spec(), engine="onnxruntime 1", run=fail)
    monkeypatch.setattr(verify, "open_artefact", lambda *args, **options: session)
    reference = verify.Reference(tiny_network(), tiny_spec())
    with pytest.raises(ExportError, match=r"^onnxruntime .* cannot run onnx-fp32 \(wrong dimension\)$"):
        verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime")


def test_a_first_inference_that_fails_ends_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "peak_memory", peak_memory)  # it runs the engine in another process
    artefact = read_contract(write_tiny_bundle(tmp_path)).artefacts[0]
    write_tiny_graph(tmp_path / MODEL, batch=2)
    reference = verify.Reference(tiny_network(), tiny_spec())
    with pytest.raises(ParckitError, match=r"^onnxruntime failed when it loaded or ran .*model\.onnx: .*described is"):
        verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime")


def test_no_tolerance_is_a_tolerance_and_int8_needs_one(artefact, tmp_path):
    reference = verify.Reference(tiny_network(WEIGHT * np.float32(1 + 1e-5)), tiny_spec())
    exact = replace(TOLERANCES["fp32"], numbers=0.0)
    for tolerance, passed in ((None, True), (exact, False)):
        check = verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime", tolerance=tolerance)
        assert check.passed is passed
    with pytest.raises(InputError, match="precision='int8': has no usual tolerance"):
        verify.check_artefact(reference, replace(artefact, precision="int8"), folder=tmp_path, engine="onnxruntime")


def test_memory_that_cannot_be_measured_is_left_out(artefact, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(verify, "can_measure_memory", lambda: False)
    assert verify._measure_memory(artefact, tiny_spec(), folder=tmp_path, engine="onnxruntime") == {}
    assert "the peak memory was not measured" in caplog.text


@pytest.mark.parametrize(
    ("lack", "obstacle"),
    [
        ({"package": "absent_engine"}, "the package absent_engine is missing"),
        ({"only_on_macos": True}, "onnxruntime runs on macOS only"),
    ],
)
def test_an_engine_that_cannot_run_here_is_recorded_as_not_run(lack, obstacle, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    absent = replace(find_engine("onnxruntime"), **lack)
    monkeypatch.setattr(unrun, "find_engine", lambda name: absent)
    artefact = read_contract(write_tiny_bundle(tmp_path)).artefacts[0]
    reference = verify.Reference(nn.Identity(), tiny_spec())
    check = verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime")
    assert (check.passed, check.figures) == (None, {})
    assert check.reason == f"it was exported on a machine that cannot run it ({obstacle})"
    assert "nobody knows whether it agrees" in caplog.text


def test_a_network_that_does_not_look_at_the_picture_is_told(caplog):
    logits = np.random.default_rng(0).standard_normal((4, 3))
    for change, told in ((1.0, False), (1e-6, True)):
        caplog.clear()
        outputs = (logits[:1] + change * logits,)
        verify._warn_if_blind(compare(outputs, outputs, names=["logits"]), engine="onnxruntime")
        assert ("proves little" in caplog.text) is told
