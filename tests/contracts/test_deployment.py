"""What every family promises to those who take a model out of Python; that `fuse` is exact stands in tests/models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backbones import SHALLOW, assert_close, images, make
from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.layers import AxisConv2d, OversizedConv2d, ParCConv2d
from parckit.runtimes import open_session
from parckit.runtimes.torch import TorchSession
from processes import measure_no_memory


# tests/integrations exports the ParC-Net.
@pytest.mark.parametrize("name", ["test_parcnetv2", "test_edgevit"])
def test_models_can_be_exported_as_programs(name):
    model, x = make(name, **SHALLOW[name]), images(33, 65)
    program = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        assert_close(program(x), model(x))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # deprecated, and still what many deploy
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # a trace holds for one size
@torch.no_grad()
def test_traced_models_can_be_saved_and_loaded(tmp_path):
    model, x = make("test_edgevit"), images(33, 65)
    torch.jit.trace(model, x, check_trace=False).save(tmp_path / "traced.pt")
    assert_close(torch.jit.load(tmp_path / "traced.pt")(x), model(x))


def test_a_model_compiles_in_one_piece():
    assert_same_when_compiled(make("test_parcnetv2", **SHALLOW["test_parcnetv2"]), images(33, 65), backend="eager")


def test_operators_compile_forward_and_backward():
    torch.manual_seed(0)
    model = nn.Sequential(ParCConv2d(8, (7, 7)), OversizedConv2d(8, 13, axis="width"))
    convs = [module for module in model.modules() if isinstance(module, AxisConv2d)]
    for conv, form in zip(convs, ("conv", "matmul", "matmul"), strict=True):
        conv.form = form
    # It needs no C compiler, and traces forward and backward as the default backend does.
    assert_same_when_compiled(model, torch.randn(2, 8, 9, 11), backend="aot_eager")


def assert_same_when_compiled(model, x, *, backend):
    out, gradients = {}, {}
    for run in (torch.compile(model, backend=backend, fullgraph=True), model):
        model.zero_grad()
        out[run] = run(x)
        out[run].square().mean().backward()
        gradients[run] = [parameter.grad for parameter in model.parameters()]
    assert_close(*out.values())
    for actual, expected in zip(*gradients.values(), strict=True):
        # Ten times what outputs are allowed: errors of tens of layers add up on the way back.
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


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
