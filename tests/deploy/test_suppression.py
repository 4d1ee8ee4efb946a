"""Detectors with NMS inside the graph, from a network to ONNX Runtime."""

import logging
from dataclasses import replace
from importlib import import_module

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundles import tiny_spec
from parckit.contract import Contract, InputError, NetworkSpec, Preprocessing, read_contract
from parckit.deploy import ExportSettings, OnnxSettings, ParityError, export_bundle
from parckit.deploy.convert.decoding import add_decoding
from parckit.deploy.convert.suppression import suppression_decoding
from parckit.measure.parity import compare_detections, real_pictures
from parckit.networks import build_network
from parckit.processing import BoxPrediction, Geometry, make_decoder
from parckit.runtimes import Session, open_session

SIZE = (64, 96)
NEW = ExportSettings(nms=True)
OLD = replace(NEW, onnx=OnnxSettings(opset=13))  # the older exporter is quicker
GEOMETRY = Geometry(picture_size=SIZE, input_size=SIZE, scale=(1.0, 1.0), offset=(0.0, 0.0))


def spec_of(head: str) -> NetworkSpec:
    return NetworkSpec(
        task="detect",
        backbone="test_resnet",
        head=head,
        labels=("a", "b", "c"),
        preprocessing=Preprocessing(size=SIZE),
    )


def network_of(spec: NetworkSpec) -> nn.Module:
    """Return a network whose scores and boxes depend on the image: fresh last layers have weights near zero."""
    torch.manual_seed(0)
    network = build_network(spec).eval()
    generator = torch.Generator().manual_seed(2)
    for name, weight in network.named_parameters():
        if not name.startswith("backbone.") and weight.ndim > 1:
            weight.data = 2 * torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
    return network


def images(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (np.linspace(0, 3, count)[:, None, None, None] * rng.standard_normal((count, 3, *SIZE))).astype(np.float32)


def answers(sessions: list[Session], image: np.ndarray, *, threshold: float) -> list[BoxPrediction]:
    """Return the boxes of the raw maps, decoded in numpy, and those of the graph with NMS inside."""
    decoders = [make_decoder(one.decoder, one.spec, overrides={"threshold": threshold}) for one in sessions]
    return [decode(run(image[None]), [GEOMETRY])[0] for run, decode in zip(sessions, decoders, strict=True)]


def assert_same(expected: BoxPrediction, actual: BoxPrediction) -> None:
    """The same maps, decoded in float32 by two libraries. Rounding may swap boxes of nearly equal scores."""
    assert len(actual) == len(expected)
    np.testing.assert_allclose(actual.scores, expected.scores, rtol=0, atol=1e-5)
    pairs = [(one.boxes, one.scores, one.labels) for one in (expected, actual)]
    assert compare_detections(*pairs).max_abs == 0


def settings_of(contract: Contract) -> ExportSettings:
    return NEW if contract.spec.head == "ssd" else OLD


@pytest.fixture(scope="module", params=["ssd", "tinydet"])
def bundle(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("nms") / "bundle"
    spec = spec_of(request.param)
    # One head for each of torch's exporters.
    settings = NEW if request.param == "ssd" else OLD
    return export_bundle(network_of(spec), spec, out=out, settings=settings), out


@pytest.fixture(scope="module")
def sessions(bundle):
    return [open_session(bundle[1], artefact=name) for name in ("onnx-fp32", "onnx-fp32-nms")]


def test_a_bundle_holds_both_artefacts(bundle):
    contract, out = bundle
    assert read_contract(out) == contract
    raw, suppressed = contract.artefacts
    assert (raw.name, suppressed.name) == ("onnx-fp32", "onnx-fp32-nms")
    assert raw.runs_in_chunks
    assert not suppressed.runs_in_chunks
    assert [output.name for output in suppressed.outputs] == ["boxes", "scores", "labels"]
    assert suppressed.decoder.name == "detections"
    assert suppressed.decoder.defaults == {name: raw.decoder.defaults[name] for name in ("threshold", "most")}
    assert suppressed.options == {**raw.options, "nms": True}
    assert all(artefact.checks[0].passed for artefact in contract.artefacts)
    operators = [node.op_type for node in onnx.load(out / suppressed.main_file).graph.node]
    assert operators.count("NonMaxSuppression") == 1
    assert not {"If", "Loop"} & {*operators}


def test_the_raw_maps_run_unless_the_other_is_named(bundle, caplog):
    _, out = bundle
    assert open_session(out).artefact == "onnx-fp32"
    assert not caplog.records


def test_wild_maps_have_the_same_boxes(sessions):
    expected, actual = answers(sessions, 1e4 * images(2)[1], threshold=0.3)
    assert_same(expected, actual)
    assert len(expected) > 5


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.9])
def test_its_boxes_are_those_of_the_decoder_in_numpy(sessions, threshold):
    pairs = [answers(sessions, image, threshold=threshold) for image in images(6)]
    for expected, actual in pairs:
        assert_same(expected, actual)
    assert max(len(expected) for expected, _ in pairs) > 5


@pytest.mark.parametrize("limits", [{"per_class": 2, "most": 4}, {"overlap": 0.1}, {"overlap": 1.0}], ids=str)
def test_overlap_and_counts_are_the_decoders(bundle, limits, tmp_path):
    contract, out = bundle
    raw = contract.artefacts[0]
    raw = replace(raw, decoder=replace(raw.decoder, defaults={**raw.decoder.defaults, **limits}))
    decoding = suppression_decoding(raw, contract.spec, threshold=0.05)
    add_decoding(out / raw.main_file, raw, contract.spec, decoding, folder=tmp_path, settings=settings_of(contract))
    decoders = [make_decoder(one.decoder, contract.spec, overrides={"threshold": 0.05}) for one in (raw, decoding)]
    maps, boxes = (open_session(path)(images(6)[5:]) for path in (out / raw.main_file, tmp_path / "model.onnx"))
    (expected,), (actual,) = decoders[0](maps, [GEOMETRY]), decoders[1](boxes, [GEOMETRY])
    assert_same(expected, actual)
    assert len(expected) == limits.get("most", len(expected)) > 1


def test_an_image_without_objects_has_no_boxes(tmp_path, caplog):
    spec = spec_of("tinydet")
    network = network_of(spec)
    for branch in network.class_branches:
        branch[-1].weight.data.zero_()
        branch[-1].bias.data.fill_(-9)
    with caplog.at_level(logging.WARNING):
        raw, _ = export_bundle(network, spec, out=tmp_path / "b", settings=OLD).artefacts
    assert "agreement" not in raw.checks[0].figures
    for compared in ("no boxes", "no detections"):
        assert f"{compared} were compared" in caplog.text
    session = open_session(tmp_path / "b", artefact="onnx-fp32-nms")
    assert [output.shape for output in session(images(1))] == [(0, 4), (0,), (0,)]


def test_the_file_alone_answers(bundle, tmp_path):
    contract, out = bundle
    path = out / contract.artefacts[1].main_file
    alone = open_session(path)
    assert alone.decoder == contract.artefacts[1].decoder
    assert alone.outputs == contract.artefacts[1].outputs


def test_an_export_replaces_both_artefacts_and_checks_them_with_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("parckit.deploy.verify.real_pictures", lambda: real_pictures()[:1])
    spec = spec_of("tinydet")
    for nms, count in ((True, 2), (False, 1)):
        contract = export_bundle(network_of(spec), spec, out=tmp_path / "b", settings=replace(OLD, nms=nms))
        assert [entry.checks[0].figures["images"] for entry in contract.artefacts] == [7] * count
    assert not (tmp_path / "b" / "onnx-fp32-nms").exists()


def test_the_lowest_opset_has_the_same_boxes(tmp_path):
    spec = spec_of("ssd")
    settings = ExportSettings(onnx=OnnxSettings(opset=11), nms=True)
    contract = export_bundle(network_of(spec), spec, out=tmp_path / "b", settings=settings)
    assert contract.artefacts[1].checks[0].figures["max_abs"] == 0


def test_a_graph_with_other_boxes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("parckit.deploy.convert.suppression"), "SIZE_VARIANCE", 0.4)
    spec = spec_of("ssd")
    with pytest.raises(ParityError, match=r"nms differs from the raw maps decoded in numpy by .* % of the detections"):
        export_bundle(network_of(spec), spec, out=tmp_path / "b", settings=OLD)
    assert not (tmp_path / "b").exists()


def test_what_has_no_boxes_to_suppress_is_refused(tmp_path):
    with pytest.raises(InputError, match="nms=True, batch_size=2: a graph with NMS inside takes one image"):
        ExportSettings(nms=True, batch_size=2)
    spec = tiny_spec((8, 12))
    with pytest.raises(InputError, match="nms=True: only the heads ssd, tinydet"):
        export_bundle(build_network(spec), spec, out=tmp_path / "b", settings=NEW)
    spec = replace(spec_of("faster_rcnn"), head_kwargs={"width": 16})
    with pytest.raises(InputError, match="nms=True: two-stage detectors suppress boxes themselves"):
        export_bundle(build_network(spec), spec, out=tmp_path / "b", settings=NEW)
