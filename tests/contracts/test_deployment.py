"""What every family promises to those who take a model out of Python; that `fuse` is exact stands in tests/models."""

from pathlib import Path

import numpy as np
import pytest

from backbones import SHALLOW, images, make
from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.runtimes import open_session
from parckit.runtimes.torch import TorchSession
from processes import measure_no_memory


# tests/deploy exports a ParC-Net, and every kind of ParC that the hybrids have. Torch's older exporter is quicker; the
# other one exports both families in `make test-engines`.
@pytest.mark.parametrize("name", ["test_parcnetv2", "test_edgevit"])
def test_models_leave_as_onnx_with_the_same_numbers(name, tmp_path: Path, monkeypatch):
    measure_no_memory(monkeypatch)
    labels = ("ant", "bee", "cat", "dog")
    size = Preprocessing(size=(33, 65))
    spec = NetworkSpec(backbone=name, backbone_kwargs=SHALLOW[name], labels=labels, preprocessing=size)
    model = make(name, num_classes=len(labels), **SHALLOW[name])
    settings = ExportSettings(onnx=OnnxSettings(opset=17))
    contract = export_bundle(model, spec, out=tmp_path / "bundle", settings=settings)
    (logits,), (expected,) = (
        session(images(33, 65, batch=3).numpy())
        for session in (open_session(tmp_path / "bundle"), TorchSession(model, spec))
    )
    tolerance = contract.artefacts[0].checks[0].figures["tolerance"]
    # The check's own tolerance, whose reasons parckit.measure.parity states; and the images differ.
    assert np.abs(logits - expected).max() <= tolerance < np.abs(expected[0] - expected[1]).max()
