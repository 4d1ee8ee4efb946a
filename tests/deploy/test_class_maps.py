"""Networks that segment with resizing and argmax inside the graph, from a network to ONNX Runtime."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from backbones import as_if_trained
from bundles import tiny_spec
from parckit.contract import InputError, NetworkSpec, Preprocessing, read_contract
from parckit.deploy import ExportSettings, OnnxSettings, ParityError, export_bundle
from parckit.measure.parity import real_pictures
from parckit.networks import build_network
from parckit.runtimes import load, open_session

SIZE = (40, 56)
ARGMAX = ExportSettings(argmax=True)
OLD = replace(ARGMAX, onnx=OnnxSettings(opset=13))  # the older exporter is quicker
SPEC = NetworkSpec(
    task="segment",
    backbone="test_resnet",
    head="lraspp",
    head_kwargs={"width": 8},
    labels=("sky", "road", "car", "tree"),
    preprocessing=Preprocessing(size=SIZE, fit="contain"),
)


@torch.no_grad()
def network_of(spec: NetworkSpec) -> nn.Module:
    """Return a network whose classes depend on the image: no class has larger logits everywhere."""
    network = as_if_trained(build_network(spec)).eval()
    means = network(torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))).mean((0, 2, 3))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels == len(means)]
    last[-1].bias -= means
    return network


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("argmax") / "bundle"
    return export_bundle(network_of(SPEC), SPEC, out=out, settings=ARGMAX), out


def picture(size: tuple[int, int]) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def answers(out: Path, *, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [load(out, artefact=name)(picture(size)).mask for name in ("onnx-fp32", "onnx-fp32-argmax")]


def test_a_bundle_holds_both_artefacts_with_the_same_answers(bundle):
    contract, out = bundle
    assert read_contract(out) == contract
    raw, decoded = contract.artefacts
    assert (raw.name, decoded.name) == ("onnx-fp32", "onnx-fp32-argmax")
    (output,) = decoded.outputs
    assert (output.name, output.dtype, output.layout, output.shape) == ("classes", "uint8", "NHW", (1, *SIZE))
    assert (decoded.decoder.name, decoded.options) == ("class_map", {**raw.options, "argmax": True})
    assert decoded.checks[0].passed
    assert open_session(out).artefact == "onnx-fp32"
    expected, actual = answers(out)
    assert actual.shape == SIZE
    assert len(np.unique(expected)) > 1
    # Rounding decides only where two logits are nearly equal.
    assert (expected != actual).mean() <= 1e-3


def test_in_larger_pictures_the_borders_of_classes_lie_in_the_same_places(bundle):
    _, out = bundle
    expected, actual = answers(out, size=(160, 224))
    assert actual.shape == (160, 224)
    # Of 4 x 4 pixels that lie in one pixel of the input, the numbers decide at the middle, the logits at every one.
    differ = expected != actual
    assert 0 < differ.mean() < 0.1
    # No pixel differs if the pixels that lie up to one pixel of the input away have all the same class.
    around = np.lib.stride_tricks.sliding_window_view(np.pad(actual, 4, mode="edge"), (9, 9))
    assert not differ[(around == actual[..., None, None]).all(axis=(2, 3))].any()


def test_the_file_alone_answers(bundle):
    contract, out = bundle
    answer = load(out / contract.artefacts[1].main_file)(picture(SIZE))
    np.testing.assert_array_equal(answer.mask, answers(out)[1])


def test_the_lowest_opset_gives_the_same_classes(tmp_path):
    batch_size = 3
    settings = ExportSettings(onnx=OnnxSettings(opset=11), batch_size=batch_size, argmax=True)
    contract = export_bundle(network_of(SPEC), SPEC, out=tmp_path / "b", settings=settings)
    assert contract.artefacts[1].outputs[0].shape == (batch_size, *SIZE)
    assert contract.artefacts[1].checks[0].figures["max_abs"] <= 1e-3
    operators = [node.op_type for node in onnx.load(tmp_path / "b" / contract.artefacts[1].main_file).graph.node]
    assert operators[-3:] == ["Resize", "ArgMax", "Cast"]
    expected, actual = answers(tmp_path / "b")
    assert (expected != actual).mean() <= 1e-3


def test_an_export_replaces_both_artefacts_and_checks_them_with_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("parckit.deploy.verify.real_pictures", lambda: real_pictures()[:1])
    for argmax, count in ((True, 2), (False, 1)):
        contract = export_bundle(network_of(SPEC), SPEC, out=tmp_path / "b", settings=replace(OLD, argmax=argmax))
        assert [entry.checks[0].figures["images"] for entry in contract.artefacts] == [7] * count
    assert not (tmp_path / "b" / "onnx-fp32-argmax").exists()


def test_a_graph_with_other_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("parckit.processing.resizing"), "neighbours", nearest_pixels)
    with pytest.raises(ParityError, match=r"argmax differs from the raw maps decoded in numpy by .* % of the pixels"):
        export_bundle(network_of(SPEC), SPEC, out=tmp_path / "b", settings=OLD)
    assert not (tmp_path / "b").exists()


def nearest_pixels(places: np.ndarray, length: int):
    """Return the pixel under every place twice."""
    pixels = places.astype(np.int64).clip(0, length - 1)
    return pixels, pixels, np.zeros(len(places), np.float32)


def test_what_has_no_maps_is_refused(tmp_path):
    spec = tiny_spec((8, 12))
    with pytest.raises(InputError, match="argmax=True: is for networks that segment"):
        export_bundle(build_network(spec), spec, out=tmp_path / "b", settings=ARGMAX)
    with pytest.raises(InputError, match="nms=True: only the heads ssd, tinydet"):
        export_bundle(network_of(SPEC), SPEC, out=tmp_path / "b", settings=replace(ARGMAX, nms=True))
    assert not (tmp_path / "b").exists()
