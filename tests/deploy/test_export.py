import json
import logging
import re
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bundles import LABELS, MODEL, add_pairs, tiny_spec, write_tiny_bundle
from parckit.contract import VERSION, InputError, NetworkSpec, read_contract, sha256_of
from parckit.deploy import ExportError, ExportSettings, OnnxSettings, ParityError, export, export_bundle
from parckit.layers import CircularConv2d
from parckit.measure.cost import count
from parckit.measure.tolerance import TOLERANCES
from parckit.models import copy_model, fuse
from parckit.networks import build_network, save_weights
from parckit.runtimes import open_session
from parckit.runtimes.torch import TorchSession
from repository import ROOT

EXPORT_MODULE = import_module("parckit.deploy.bundling")
SIZE = (64, 96)
SPEC = replace(tiny_spec(SIZE), backbone_kwargs={"depths": [1, 1, 1]})


def random_parcnet() -> nn.Module:
    """A test_parcnet whose norms and biases are as if trained, so that folding them wrongly would show."""
    torch.manual_seed(0)
    model = build_network(SPEC).eval()
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            positive = name.endswith(("var", "weight"))
            tensor.copy_(0.5 + torch.rand_like(tensor) if positive else 0.1 * torch.randn_like(tensor))
    return model


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


TINY = tiny_spec((8, 12))
OLD = ExportSettings(onnx=OnnxSettings(opset=13))  # the older exporter is quicker


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def assert_good(bundle: Path, model: nn.Module, spec: NetworkSpec) -> None:
    """The bundle's session agrees with the model on images that the export did not see."""
    images = np.random.default_rng(99).standard_normal((3, 3, *spec.preprocessing.size), np.float32)
    (check,) = read_contract(bundle).artefacts[0].checks
    (actual,), (expected,) = open_session(bundle)(images), TorchSession(model, spec)(images)
    # The check's own tolerance, whose reasons parckit.measure.tolerance states.
    assert np.abs(actual - expected).max() <= check.figures["tolerance"]
    assert sorted(content(bundle)) == ["contract.json", MODEL]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "bundle"
    model = random_parcnet()
    return export_bundle(model, SPEC, out=out), out, model


def test_the_contract_says_what_the_bundle_is(exported):
    contract, out, model = exported
    assert read_contract(out) == contract
    assert contract.spec == SPEC
    cost = count(model, size=SIZE)
    assert (contract.params, contract.madds) == (cost.params, cost.madds)
    assert {"parckit", "torch", "timm", "onnx", "onnxruntime"} <= contract.versions.keys()
    (artefact,) = contract.artefacts
    assert (artefact.name, artefact.format, artefact.precision) == ("onnx-fp32", "onnx", "fp32")
    assert artefact.files == {MODEL: sha256_of(out / MODEL)}
    assert (artefact.input.name, artefact.input.shape, artefact.input.layout) == ("image", (1, 3, *SIZE), "NCHW")
    assert [(output.name, output.shape) for output in artefact.outputs] == [("logits", (1, len(LABELS)))]
    assert (artefact.decoder.name, artefact.calibration) == ("classify", None)
    (check,) = artefact.checks
    assert (check.engine, check.passed, check.reason) == ("onnxruntime", True, None)
    assert check.version.startswith("1.")
    assert check.figures["max_abs"] <= check.figures["tolerance"] < 1e-2
    assert check.figures["images"] >= 8
    assert check.figures["peak_memory_bytes"] == 7_000_000


def test_opset_18_in_the_lowest_ir_is_written_by_default(exported):
    contract, out, _ = exported
    file = onnx.load(out / MODEL)
    assert [(entry.domain, entry.version) for entry in file.opset_import] == [("", 18)]
    assert file.ir_version == 8
    assert contract.artefacts[0].options == {"opset": 18, "ir_version": 8, "form": "auto"}


def test_nodes_are_called_after_the_modules_of_the_network(exported):
    """Profiles and sensitivities show them; nodes that graph passes have made are called so, too."""
    _, out, model = exported
    nodes = onnx.load(out / MODEL).graph.node
    assert len({node.name for node in nodes}) == len(nodes)
    modules = {node.name.rpartition("/")[0] for node in nodes}
    assert modules <= {path for path, _ in fuse(model, size=SIZE).model.named_modules()}
    assert "stages.2.0.depthwise.conv/Conv" in {node.name for node in nodes}


def test_the_file_says_itself_what_it_is(exported):
    _, out, _ = exported
    facts = {entry.key: entry.value for entry in onnx.load(out / MODEL).metadata_props}
    assert (facts["task"], facts["parckit_version"]) == ("classify", VERSION)
    assert json.loads(facts["labels"]) == [*LABELS]
    assert json.loads(facts["preprocessing"])["size"] == [*SIZE]
    assert NetworkSpec.from_dict(json.loads(facts["parckit"])) == SPEC


def test_the_file_alone_answers_as_its_bundle_does(exported, tmp_path):
    _, out, _ = exported
    shutil.copy(out / MODEL, tmp_path / "alone.onnx")
    alone, bundle = open_session(tmp_path / "alone.onnx"), open_session(out)
    for name in ("spec", "input", "outputs", "decoder", "engine", "batch_size"):
        assert getattr(alone, name) == getattr(bundle, name)
    images = np.random.default_rng(7).standard_normal((2, 3, *SIZE), np.float32)
    np.testing.assert_array_equal(alone(images)[0], bundle(images)[0])


def test_the_bundle_computes_what_the_model_computes(exported):
    _, out, model = exported
    assert_good(out, model, SPEC)


def test_the_file_is_the_weights_and_a_little_graph(exported):
    contract, out, _ = exported
    graph = onnx.load(out / MODEL).graph
    weights = sum(np.prod(tensor.dims, dtype=int) for tensor in graph.initializer if tensor.data_type == 1)
    # The folded embeddings come as maps instead of vectors, and the file adds names.
    assert weights <= 1.2 * contract.params
    assert (out / MODEL).stat().st_size <= 4 * weights + 100_000
    assert not graph.doc_string
    assert not any(node.metadata_props or node.doc_string for node in graph.node)


def test_the_lowest_opset_is_what_it_claims(tmp_path):
    model = random_parcnet()
    export_bundle(model, SPEC, out=tmp_path / "b", settings=ExportSettings(onnx=OnnxSettings(opset=11)))
    file = onnx.load(tmp_path / "b" / MODEL)
    assert [(entry.domain, entry.version) for entry in file.opset_import] == [("", 11)]
    assert file.ir_version == 6
    # Static shapes leave nothing to compute on shapes.
    assert not {"Shape", "Gather", "Identity", "Constant"} & {node.op_type for node in file.graph.node}
    assert_good(tmp_path / "b", model, SPEC)


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 8), (21, 10)])
def test_an_ir_version_is_written_as_asked(tmp_path, opset, ir_version):
    contract = export_bundle(
        tiny_model(),
        TINY,
        out=tmp_path / "b",
        settings=ExportSettings(onnx=OnnxSettings(opset=opset, ir_version=ir_version)),
    )
    file = onnx.load(tmp_path / "b" / MODEL)
    assert (file.ir_version, file.opset_import[0].version) == (ir_version, opset)
    assert contract.artefacts[0].options == {"opset": opset, "ir_version": ir_version, "form": "auto"}


def test_a_batch_is_written_as_asked(tmp_path):
    model = tiny_model()
    contract = export_bundle(
        model, TINY, out=tmp_path / "b", settings=ExportSettings(onnx=OnnxSettings(opset=13), batch_size=2)
    )
    assert contract.artefacts[0].input.shape == (2, 3, 8, 12)
    assert_good(tmp_path / "b", model, TINY)


def test_a_checkpoint_is_exported_at_another_size(tmp_path):
    model = random_parcnet()
    save_weights(model, SPEC, tmp_path / "w.safetensors")
    settings = ExportSettings(onnx=OnnxSettings(opset=17), batch_size=2)
    contract = export(str(tmp_path / "w.safetensors"), str(tmp_path / "b"), size=(40, 33), settings=settings)
    assert contract == read_contract(tmp_path / "b")
    assert contract.spec == SPEC.with_size((40, 33))
    assert contract.artefacts[0].input.shape == (2, 3, 40, 33)
    assert_good(tmp_path / "b", model, SPEC.with_size((40, 33)))


@pytest.fixture
def faulty_fuse(monkeypatch):
    def fuse(model: nn.Module, *, size: tuple[int, int]) -> nn.Module:
        twin = copy_model(model)
        twin[-1].bias.data += 0.01
        return twin

    monkeypatch.setattr(EXPORT_MODULE, "fuse", fuse)


def test_nothing_is_left_when_parity_is_missed(tmp_path, faulty_fuse):
    with pytest.raises(ParityError, match=r"onnx-fp32 differs from torch by 1\.0e-02 over") as caught:
        export_bundle(tiny_model(), TINY, out=tmp_path / "b", settings=OLD)
    assert isinstance(caught.value, ExportError)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Exaggerating(nn.Module):
    """Gives larger numbers when it is exported, as a faulty converter does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.01 * x if torch.onnx.is_in_onnx_export() else x


def test_the_first_layer_that_differs_is_named(tmp_path):
    model = tiny_model()
    model.insert(3, Exaggerating())
    with pytest.raises(ParityError, match=r"it differs first at 3 \(Exaggerating\), by .*; no bundle was written$"):
        export_bundle(model, TINY, out=tmp_path / "b", settings=OLD)


class Reversing(nn.Module):
    """Gives the channels in another order when it is exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1) if torch.onnx.is_in_onnx_export() else x


def test_a_layer_is_named_by_the_cosine_too_but_not_by_answers(tmp_path, monkeypatch):
    model = tiny_model().append(Reversing())
    named = re.escape(f"first at {len(model) - 1} (Reversing), with a lowest cosine of ")
    monkeypatch.setitem(TOLERANCES, "fp32", replace(TOLERANCES["fp32"], numbers=9.0))
    with pytest.raises(ParityError, match=named):
        export_bundle(model, TINY, out=tmp_path / "b", settings=OLD)
    monkeypatch.setitem(TOLERANCES, "fp32", replace(TOLERANCES["fp32"], numbers=9.0, cosine=-2.0))
    with pytest.raises(ParityError, match=r"over 8 images; only .* of the answers are the same, .*%; no bundle"):
        export_bundle(model, TINY, out=tmp_path / "b", settings=OLD)


def test_an_engine_that_fails_in_the_search_does_not_hide_the_difference(tmp_path, faulty_fuse, monkeypatch):
    def fail(*args: object, **options: object) -> int:
        raise RuntimeError("of the engine")

    monkeypatch.setattr("parckit.deploy.divergence.peak_memory", fail)
    with pytest.raises(ParityError, match=r"differs from torch by 1\.0e-02 over 8 images, .*9; no bundle"):
        export_bundle(tiny_model(), TINY, out=tmp_path / "b", settings=OLD)


def test_a_good_bundle_survives_a_failed_export(tmp_path, request):
    model, out = tiny_model(), tmp_path / "b"
    export_bundle(model, TINY, out=out, settings=OLD)
    before = content(out)
    request.getfixturevalue("faulty_fuse")
    with pytest.raises(ParityError):
        export_bundle(model, TINY, out=out, settings=OLD)
    assert content(out) == before
    assert [folder.name for folder in tmp_path.iterdir()] == ["b"]


def test_a_bundle_is_replaced_by_a_better_one(tmp_path):
    model, out = tiny_model(), tmp_path / "b"
    export_bundle(model, TINY, out=out, settings=OLD)
    model[-1].bias.data += 1
    export_bundle(model, TINY, out=out, settings=OLD)
    assert_good(out, model, TINY)


def test_a_bundle_of_the_former_version_is_replaced(tmp_path):
    out = shutil.copytree(ROOT / "tests" / "former" / "bundle", tmp_path / "b")
    assert sorted(content(out)) == ["contract.json", "model.onnx"]
    model = tiny_model()
    export_bundle(model, TINY, out=out, settings=OLD)
    assert_good(out, model, TINY)


@pytest.mark.parametrize("out", [".", "..", "../b"])
def test_the_working_folder_is_not_replaced(out, tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(
        InputError, match=rf"{re.escape(out)}: (is or contains the working folder|must be a new folder)"
    ):
        export_bundle(tiny_model(), TINY, out=Path(out))
    assert (tmp_path / "b").is_dir()


def test_labels_that_are_not_the_outputs_are_refused(tmp_path):
    spec = replace(TINY, labels=TINY.labels[:-1])
    with pytest.raises(InputError, match="4 outputs for 3 labels"):
        export_bundle(tiny_model(), spec, out=tmp_path / "b", settings=OLD)
    assert not (tmp_path / "b").exists()


class Attend(nn.Module):
    """Torch's exporter of old opsets knows the fused operator from 14 on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def test_what_an_exporter_cannot_write_is_one_line(tmp_path):
    model = tiny_model()
    model.insert(2, Attend())
    with pytest.raises(ExportError, match=r"^opset 13: .*scaled_dot_product_attention") as caught:
        export_bundle(model, TINY, out=tmp_path / "b", settings=OLD)
    assert "\n" not in str(caught.value)


def test_folders_and_files_that_are_no_bundle_are_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(InputError, match=r"photos: must be a new folder.* it has no contract\.json"):
        export_bundle(tiny_model(), TINY, out=tmp_path / "photos")
    with pytest.raises(InputError, match=r"cat\.png: is a file"):
        export_bundle(tiny_model(), TINY, out=tmp_path / "photos" / "cat.png")
    assert content(tmp_path / "photos") == {"cat.png": b"cat"}


def test_a_file_of_the_users_inside_a_bundle_is_never_deleted(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b")
    (bundle / "onnx-fp32" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"would delete .*onnx-fp32/notes\.txt"):
        export_bundle(tiny_model(), TINY, out=bundle)
    assert (bundle / "onnx-fp32" / "notes.txt").read_text() == "mine"


def test_a_bundle_with_more_artefacts_is_never_deleted(tmp_path):
    bundle = add_pairs(write_tiny_bundle(tmp_path / "b"), made_in=tmp_path / "made")
    with pytest.raises(InputError, match="has the artefacts onnx-fp32, pairs, which an export would delete"):
        export_bundle(tiny_model(), TINY, out=bundle)


def test_a_bundle_that_was_edited_must_be_deleted_first(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b")
    contract = bundle / "contract.json"
    contract.write_text(contract.read_text().replace('"ant"', '"eel"'))
    with pytest.raises(InputError, match="Delete the folder to export into it"):
        export_bundle(tiny_model(), TINY, out=bundle)


def test_half_written_files_of_a_killed_process_are_no_hindrance(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b")
    (bundle / ".pairs~1-0123abcd.tmp").mkdir()
    (bundle / ".pairs~1-0123abcd.tmp" / "model.onnx").write_bytes(b"half")
    export_bundle(tiny_model(), TINY, out=bundle, settings=OLD)
    assert_good(bundle, tiny_model(), TINY)


def test_the_model_is_left_as_it_was(tmp_path):
    model = tiny_model()
    model.insert(2, CircularConv2d(8, 4, axis="height"))
    before = {key: value.clone() for key, value in model.train().state_dict().items()}
    export_bundle(model, TINY, out=tmp_path / "b", settings=OLD)
    assert all(module.training for module in model.modules())
    assert all(module.form == "auto" for module in model.modules() if isinstance(module, CircularConv2d))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("opset", [13, 18])
def test_exporters_are_silent(tmp_path, capfd, caplog, opset):
    with caplog.at_level(logging.WARNING):
        export_bundle(tiny_model(), TINY, out=tmp_path / "b", settings=ExportSettings(onnx=OnnxSettings(opset=opset)))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


class DynamicKernel(nn.Module):
    """Convolves the image with a kernel made from the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = x.mean((2, 3)).view(1, 3, 1, 1)
        return nn.functional.conv2d(x, kernel).mean((2, 3)).expand(-1, len(LABELS))


@pytest.mark.parametrize("opset", [13, 18])
def test_kernels_made_from_the_image_are_refused(tmp_path, monkeypatch, opset):
    monkeypatch.setattr(EXPORT_MODULE, "fuse", lambda model, size: model)
    with pytest.raises(ExportError, match="dynamic kernel"):
        export_bundle(
            DynamicKernel(), TINY, out=tmp_path / "b", settings=ExportSettings(onnx=OnnxSettings(opset=opset))
        )
    assert list(tmp_path.iterdir()) == []
