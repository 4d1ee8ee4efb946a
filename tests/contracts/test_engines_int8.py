"""Int8 in the engines whose files are not ONNX. `make test-engines` and `make test-litert` run it."""

import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backbones import as_if_trained
from engine_networks import ONE_A_TASK, SIZE, spec_of
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.deploy.quantize import QuantizeSettings, quantize
from parckit.networks import add_quantizers, build_network, calibrate, place_quantizers, prepare_quantization
from processes import measure_no_memory

INT8 = [
    pytest.param(
        engine,
        network,
        marks=[
            pytest.mark.litert if engine == "litert" else pytest.mark.engines,
            pytest.mark.xdist_group(f"int8-{network}"),
        ],
    )
    for network in ONE_A_TASK
    for engine in ("mnn", "ncnn", "litert")
]
"""(engine, network)."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Callable[[str, str], Path]:
    """Return a function that exports a network into a float bundle, which several engines share."""

    @functools.cache
    def export(network: str, engine: str) -> Path:
        spec, out = spec_of(network), tmp_path_factory.mktemp("int8") / "bundle"
        engines = tuple(dict.fromkeys(("onnxruntime", engine)))
        settings = ExportSettings(engines=engines, onnx=OnnxSettings(opset=17))
        with pytest.MonkeyPatch.context() as patch:
            measure_no_memory(patch)
            export_bundle(as_if_trained(build_network(spec)).eval(), spec, out=out, settings=settings)
        return out

    return export


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of random pictures."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(("engine", "network"), INT8)
def test_int8_gives_nearly_the_same_in_fewer_bytes(engine, network, bundle, tmp_path, pictures, monkeypatch):
    measure_no_memory(monkeypatch)
    shutil.copytree(bundle(network, "litert" if engine == "litert" else "onnxruntime"), tmp_path / "b")
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
