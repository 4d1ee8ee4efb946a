import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import Artefact, NetworkSpec, ParckitError, read_contract
from parckit.deploy import verify
from parckit.measure.parity import compare
from parckit.runtimes import find_engine


def test_memory_that_cannot_be_measured_is_left_out(monkeypatch, caplog, tmp_path):
    def refuse(folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str) -> int:
        raise ParckitError(f"{folder / artefact.main_file}: No module named 'resource'")

    monkeypatch.setattr(verify, "peak_memory", refuse)
    artefact = read_contract(write_tiny_bundle(tmp_path)).artefacts[0]
    with caplog.at_level(logging.WARNING):
        assert verify._measure_memory(artefact, tiny_spec(), folder=tmp_path, engine="onnxruntime") == {}
    assert "model.onnx: No module named 'resource'" in caplog.text


def test_an_engine_that_is_not_installed_is_recorded_as_not_run(monkeypatch, caplog, tmp_path):
    absent = replace(find_engine("onnxruntime"), package="absent_engine")
    monkeypatch.setattr(verify, "find_engine", lambda name: absent)
    artefact = read_contract(write_tiny_bundle(tmp_path)).artefacts[0]
    reference = verify.Reference(nn.Identity(), tiny_spec())
    check = verify.check_artefact(reference, artefact, folder=tmp_path, engine="onnxruntime")
    assert (check.passed, check.figures) == (None, {})
    assert "the package absent_engine is not installed" in check.reason
    assert "nobody knows whether it agrees" in caplog.text


def test_a_network_that_does_not_look_at_the_picture_is_told(caplog):
    logits = np.random.default_rng(0).standard_normal((4, 3))
    for change, told in ((1.0, False), (1e-6, True)):
        caplog.clear()
        outputs = (logits[:1] + change * logits,)
        verify._warn_if_blind(compare(outputs, outputs, names=["logits"]), engine="onnxruntime")
        assert ("proves little" in caplog.text) is told
