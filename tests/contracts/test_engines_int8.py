"""Int8 in the engines whose files are not ONNX. `make test-engines` and `make test-litert` run it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backbones import as_if_trained
from engine_networks import ONE_A_TASK, SIZE, spec_of
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.deploy.quantize import QuantizeSettings, quantize
from parckit.networks import add_quantizers, build_network, calibrate, place_quantizers, prepare_quantization

INT8 = [
    pytest.param(engine, network, marks=pytest.mark.litert if engine == "litert" else pytest.mark.engines)
    for network in ONE_A_TASK
    for engine in ("mnn", "ncnn", "litert")
]
"""(engine, network)."""


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of random pictures."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(("engine", "network"), INT8)
def test_int8_gives_nearly_the_same_in_fewer_bytes(engine, network, tmp_path, pictures):
    spec = spec_of(network)
    needed = ("onnxruntime", "litert") if engine == "litert" else ("onnxruntime",)
    settings = ExportSettings(engines=needed, onnx=OnnxSettings(opset=17))
    export_bundle(as_if_trained(build_network(spec)).eval(), spec, out=tmp_path / "b", settings=settings)
    how = QuantizeSettings(engines=(engine,), samples=8, seconds=0, least_agreement=0)
    contract = quantize(tmp_path / "b", pictures, settings=how)
    artefact = contract.artefacts[-1]
    assert artefact.precision == "int8"
    (check,) = artefact.checks
    # 8 bits give 48 dB in one layer; the errors of many layers add up. A wrong layer would give 3 dB or less.
    assert check.figures["sqnr"] > 12
    # The last float file is that of the engine, where it has one.
    whole, small = (
        max((tmp_path / "b" / file).stat().st_size for file in one.files) for one in contract.artefacts[-2:]
    )
    assert small < 0.75 * whole


@pytest.mark.engines
@pytest.mark.parametrize("engine", ["mnn", "ncnn"])
def test_a_network_that_was_trained_in_int8_keeps_its_ranges(engine, tmp_path, pictures):
    spec = spec_of("parcnet")
    torch.manual_seed(0)
    network = prepare_quantization(build_network(spec).eval(), spec)
    spec = replace(spec, quantization=place_quantizers(network, spec, weight_bits=8))
    trained = add_quantizers(network, spec.quantization)
    calibrate(trained, [torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))])
    export_bundle(trained.eval(), spec, out=tmp_path / "b", settings=ExportSettings(engines=("onnxruntime",)))
    how = QuantizeSettings(engines=(engine,), samples=8, seconds=0, least_agreement=0)
    artefact = quantize(tmp_path / "b", pictures, settings=how).artefacts[-1]
    assert (artefact.calibration.method, artefact.calibration.count) == ("trained", 0)
    assert artefact.options["calibrator"] == "trained"
    assert artefact.checks[0].figures["sqnr"] > 12
    sizes = [(tmp_path / "b" / file).stat().st_size for file in (*artefact.files, "onnx-fp32/model.onnx")]
    assert max(sizes[:-1]) < 0.75 * sizes[-1]
