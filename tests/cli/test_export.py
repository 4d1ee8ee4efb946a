from dataclasses import replace

import onnx
import pytest

from bundles import MODEL, write_tiny_bundle
from parckit.cli.export import show_bundle
from parckit.cli.main import main
from parckit.contract import Check, NetworkSpec, Preprocessing, read_contract, sha256_of
from parckit.deploy import ExportSettings, ParityError
from parckit.measure.memory import peak_memory
from parckit.models import create_model
from parckit.networks import open_checkpoint, save_weights
from processes import MEMORY


def test_the_bundle_is_the_checkpoints_model(bundle, checkpoint):
    contract = read_contract(bundle)
    _, spec = open_checkpoint(checkpoint)
    assert contract.spec == spec
    (artefact,) = contract.artefacts
    assert artefact.input.shape == (1, 3, 32, 32)
    assert artefact.options == {"opset": 17, "ir_version": 8, "form": "auto"}
    (check,) = artefact.checks
    assert check.passed


def test_the_bundle_notes_its_checkpoint(bundle, checkpoint):
    assert read_contract(bundle).origin == {"weights": "best.ckpt", "sha256": sha256_of(checkpoint)}


def test_size_opset_batch_size_and_form_can_be_chosen(checkpoint, tmp_path, parckit, monkeypatch):
    monkeypatch.setattr("parckit.deploy.verify.peak_memory", peak_memory)
    out = tmp_path / "bundle"
    printed = parckit(
        "export", checkpoint, "--out", out, "--size=48x32", "--opset=18", "--batch_size=2", "--form=matmul"
    )
    contract = read_contract(out)
    (artefact,) = contract.artefacts
    assert artefact.input.shape == (2, 3, 48, 32)
    assert contract.spec.preprocessing.size == (48, 32)
    graph = onnx.load(out / MODEL)
    assert artefact.options["opset"] == graph.opset_import[0].version == 18  # usually 17 for this network
    assert artefact.options["form"] == "matmul"
    assert "MatMul" in {node.op_type for node in graph.graph.node}  # the classifier is a Gemm
    assert str(out) in printed
    assert "2 x 3 x 48 x 32" in printed
    assert f"{contract.params / 1e6:.2f} M" in printed
    (check,) = artefact.checks
    assert check.version in printed
    # Measured in another process. The engine takes some MB for the smallest network.
    assert 1e5 < check.figures["peak_memory_bytes"] < 1e9
    assert check.figures["peak_memory_bytes"] != MEMORY


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--size=0x5"], "--size 0x5"),
        (["--size=big"], "--size big"),
        (["--opset=3"], "opset=3"),
        (["--opset=new"], "--opset"),
        (["--form=winograd"], "--form"),
        (["--form=matmul", "--opset=13"], "form='matmul': needs opset 18"),
        (["--ir_version=1"], "ir_version=1"),
        (["--batch_size=0"], "batch_size=0"),
        (["--op=18"], "--op=18"),
        (["--target=rdk-x9"], "target='rdk-x9'"),
    ],
    ids=str,
)
def test_mistakes_are_named_and_leave_nothing(options, named, checkpoint, tmp_path, mistake):
    assert named in mistake("export", checkpoint, "--out", tmp_path / "bundle", *options)
    assert [*tmp_path.iterdir()] == []


def test_a_check_lists_operators_and_writes_nothing(checkpoint, tmp_path, parckit, mistake, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "HardSigmoid" in parckit("export", checkpoint, "--check", "--opset=12")
    printed = parckit("export", checkpoint, "--check", "--target=rdk-x5")
    assert "D-Robotics RDK X5" in printed
    assert "github.com/D-Robotics" in printed
    for option in ("--engines=mnn", "--precision=fp16", "--nms=true"):
        assert "has no effect with --check" in mistake("export", checkpoint, "--check", option)
    # The board decides the opset, and options on the command line win.
    refused = mistake("export", checkpoint, "--check", "--target=rdk-x5", "--opset=12")
    assert refused.startswith("target=rdk-x5: it does not support the network: ")
    refused = mistake("export", checkpoint, "--target=rdk-x5", "--opset=12", "--out=bundle")
    assert refused == "target=rdk-x5: test_parcnet: opset 12: it takes 10 to 11"
    assert [*tmp_path.iterdir()] == []


def test_an_export_for_a_board_is_as_the_board_wants_it(checkpoint, tmp_path, parckit):
    parckit("export", checkpoint, "--target=generic-npu", "--out", tmp_path / "bundle")
    (artefact,) = read_contract(tmp_path / "bundle").artefacts
    assert artefact.options == {
        "opset": 11,
        "ir_version": 6,
        "form": "conv",
        "longest_kernel": 7,
        "target": "generic-npu",
    }


def test_a_size_that_the_model_cannot_take_is_named(tmp_path, mistake):
    model = create_model("test_vit", num_classes=2)
    spec = NetworkSpec(backbone="test_vit", labels=("a", "b"), preprocessing=Preprocessing(size=(160, 160)))
    save_weights(model, spec, tmp_path / "vit.safetensors")
    message = mistake("export", tmp_path / "vit.safetensors", "--out", tmp_path / "bundle", "--size=40x40")
    assert message.startswith("test_vit with {} cannot take RGB images of size=(40, 40): ")


def test_a_missing_checkpoint_is_named(tmp_path, mistake):
    assert mistake("export", "no/such.ckpt", "--out", tmp_path / "bundle").startswith("no/such.ckpt: ")


def test_a_place_for_the_bundle_is_needed(checkpoint, mistake):
    assert mistake("export", checkpoint).startswith("--out: name the folder")


def test_a_folder_of_other_things_is_left_alone(checkpoint, trained, mistake):
    before = sorted(trained.rglob("*"))
    assert str(trained) in mistake("export", checkpoint, "--out", trained)
    assert sorted(trained.rglob("*")) == before


def test_a_refused_export_fails(checkpoint, tmp_path, capsys, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        assert options == {"size": None, "settings": ExportSettings(), "thresholds": None}, "the options are the usual"
        raise ParityError("differs from torch by 1")

    monkeypatch.setattr("parckit.cli.export.export", refuse)
    with pytest.raises(SystemExit) as ending:
        main(["export", str(checkpoint), "--out", str(tmp_path / "bundle")])
    assert ending.value.code == 1  # not 2: no argument was wrong
    assert capsys.readouterr().err == "parckit: error: differs from torch by 1\n"


@pytest.mark.parametrize(
    ("check", "options", "told"),
    [
        (Check(engine="ncnn", passed=None, reason="no such operator"), {}, "ncnn not run: no such operator"),
        (Check(engine="ncnn", version="ncnn 1", passed=True), {"threads": [1, 2]}, "options threads=[1, 2]"),
        (Check(engine="ncnn", version="ncnn 1", passed=False, figures={"max_abs": 0.5}), {}, "difference 5.0e-01"),
        (
            Check(engine="ncnn", version="1", passed=True, figures={"cosine": 0.99, "agreement": 0.5}),
            {},
            "equal, cosine 0.990000, same answers 50.0%",
        ),
    ],
)
def test_a_bundle_with_any_checks_and_options_can_be_shown(check, options, told, tmp_path, capsys):
    folder = write_tiny_bundle(tmp_path / "bundle")
    contract = read_contract(folder)
    (artefact,) = contract.artefacts
    changed = replace(contract, artefacts=(replace(artefact, checks=(check,), options=options),))
    show_bundle(changed, folder)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert told in printed
