"""What an export does where an engine cannot run, or would get a graph wrong. `make test-engines` runs it."""

import sys

import onnx_ir as ir
import pytest

from backbones import as_if_trained
from engine_networks import spec_of
from parckit.contract import AbsentError
from parckit.deploy import ExportSettings, OnnxSettings, ParityError, divergence, export_bundle
from parckit.deploy.convert.passes import PASSES
from parckit.deploy.convert.passes.hard_sigmoid import HARD_SIGMOID_DEFAULT
from parckit.networks import build_network
from parckit.runtimes import load
from processes import measure_no_memory


@pytest.mark.engines
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS runs it")
def test_core_ml_is_written_where_it_cannot_run(tmp_path, caplog):
    """Its converter comes with the package of ExecuTorch."""
    spec, settings = spec_of("parcnet"), ExportSettings(engines=("coreml",))
    (artefact,) = export_bundle(build_network(spec).eval(), spec, out=tmp_path / "b", settings=settings).artefacts
    (check,) = artefact.checks
    assert check.passed is None
    assert "coreml runs on macOS only" in check.reason
    with pytest.raises(AbsentError, match="coreml runs on macOS only"):
        load(tmp_path / "b")


@pytest.mark.engines
@pytest.mark.parametrize("opset", [17, 20])
def test_mnn_does_not_approximate_gelu_whatever_the_opset(opset, tmp_path, monkeypatch):
    """Torch writes GELU in another form for each of these opsets; `PAIRS` has the usual one."""
    measure_no_memory(monkeypatch)
    spec, settings = spec_of("parcnetv2"), ExportSettings(engines=("mnn",), onnx=OnnxSettings(opset=opset))
    network = as_if_trained(build_network(spec)).eval()
    (artefact,) = export_bundle(network, spec, out=tmp_path / "b", settings=settings).artefacts
    # The approximation differs by 2e-4.
    assert artefact.checks[0].figures["relative"] < 1e-5


@pytest.mark.engines
def test_a_graph_that_an_engine_gets_wrong_is_refused_at_the_layer(tmp_path, monkeypatch):
    """Without its pass, OpenCV gives another shape to the product after a HardSigmoid."""
    measure_no_memory(monkeypatch)
    others = [one for one in PASSES.passes if HARD_SIGMOID_DEFAULT not in one.rules]
    assert len(others) == len(PASSES.passes) - 1
    monkeypatch.setattr("parckit.deploy.convert.onnx.PASSES", ir.passes.Sequential(*others))
    # tests/deploy searches through all layers.
    layers_of = divergence._layers
    monkeypatch.setattr(divergence, "_layers", lambda suspect: layers_of(suspect)[-1:])
    spec = spec_of("parcnet")
    with pytest.raises(ParityError, match=r"opencv .* differs from torch by .*; it differs first at "):
        export_bundle(
            as_if_trained(build_network(spec)).eval(),
            spec,
            out=tmp_path / "b",
            settings=ExportSettings(engines=("opencv",)),
        )
