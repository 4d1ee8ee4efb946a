import logging

from parckit.contract import ParckitError
from parckit.deploy import verify


def test_memory_that_cannot_be_measured_is_left_out(monkeypatch, caplog, tmp_path):
    def refuse(file) -> int:
        raise ParckitError(f"{file}: No module named 'resource'")

    monkeypatch.setattr(verify, "peak_memory", refuse)
    with caplog.at_level(logging.WARNING):
        assert verify._measure_memory(tmp_path / "model.onnx") == {}
    assert "model.onnx: No module named 'resource'" in caplog.text
