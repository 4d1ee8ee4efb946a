import logging
from pathlib import Path

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import Artefact, NetworkSpec, ParckitError, read_contract
from parckit.deploy import verify


def test_memory_that_cannot_be_measured_is_left_out(monkeypatch, caplog, tmp_path):
    def refuse(folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str) -> int:
        raise ParckitError(f"{folder / artefact.main_file}: No module named 'resource'")

    monkeypatch.setattr(verify, "peak_memory", refuse)
    artefact = read_contract(write_tiny_bundle(tmp_path)).artefacts[0]
    with caplog.at_level(logging.WARNING):
        assert verify._measure_memory(artefact, tiny_spec(), folder=tmp_path, engine="onnxruntime") == {}
    assert "model.onnx: No module named 'resource'" in caplog.text
