"""Checkpoint and bundle of a network that segments, on the command line."""

import json

import pytest
import torch
from torch import nn

from backbones import as_if_trained
from parckit.cli.main import main
from parckit.contract import NetworkSpec, Preprocessing
from parckit.data import open_mask_table
from parckit.networks import build_network, save_weights

SIZE = (160, 160)
"""That of the pictures: in larger pictures, the file with argmax inside gives borders of classes with stairs."""
DATA = ("--data=digit_scenes:32", "--data.split=val")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a checkpoint and a bundle with two artefacts."""
    folder = tmp_path_factory.mktemp("segment")
    spec = NetworkSpec(
        task="segment",
        backbone="test_resnet",
        head="lraspp",
        head_kwargs={"width": 8},
        labels=open_mask_table("digit_scenes:32", split="val").labels,
        preprocessing=Preprocessing(size=SIZE, fit="stretch"),
    )
    with torch.no_grad():
        network = as_if_trained(build_network(spec)).eval()
        # No class has larger logits everywhere.
        means = network(torch.randn(1, 3, *SIZE)).mean((0, 2, 3))
        layers = [one for one in network.modules() if isinstance(one, nn.Conv2d) and one.out_channels == len(means)]
        layers[-1].bias -= means
    save_weights(network, spec, folder / "net.safetensors")
    export = ("export", str(folder / "net.safetensors"), "--out", str(folder / "bundle"))
    main([*export, "--argmax=true", "--opset=13"])
    return folder


def test_checkpoint_and_both_artefacts_have_the_same_score(folder, parckit, tmp_path):
    scores = []
    graphs = ((folder / "bundle", f"--artefact={name}") for name in ("onnx-fp32", "onnx-fp32-argmax"))
    for model in ((folder / "net.safetensors",), *graphs):
        printed = parckit("eval", *model, *DATA, "--record", tmp_path / "record.json")
        assert all(title in printed for title in ("mean IoU %", "IoU near boundaries %", "pixels", "background"))
        scores.append(json.loads((tmp_path / "record.json").read_text())["values"])
    for score in scores[1:]:
        # Rounding decides only where two logits are nearly equal.
        assert score["scalars"] == pytest.approx(scores[0]["scalars"], abs=0.1)
        assert score["tables"]["class_pixels"] == scores[0]["tables"]["class_pixels"]


def test_evaluation_through_windows_is_recorded(folder, parckit, tmp_path):
    options = ("--data.tiles=input", "--data.scales=[0.5, 1.0]", "--data.flip=true", "--data.shorter_side=96")
    parckit("eval", folder / "bundle", *DATA, *options, "--record", tmp_path / "record.json")
    values = json.loads((tmp_path / "record.json").read_text())["values"]
    assert values["data"]["scales"] == [0.5, 1.0]
    assert 0 <= values["scalars"]["miou"] <= 100


def test_class_numbers_cannot_be_averaged(folder, mistake):
    argmax = "--artefact=onnx-fp32-argmax"
    assert "name the artefact of the raw maps" in mistake(
        "eval", folder / "bundle", argmax, *DATA, "--data.tiles=input"
    )


def test_the_report_shows_confusion_and_the_worst_pictures(folder, parckit):
    parckit("report", folder / "bundle", *DATA)
    page = (folder / "bundle_report.html").read_text(encoding="utf-8")
    for words in (">Confusion matrix", ">Worst mistakes", "share of wrong pixels", "mean IoU", "background as"):
        assert words.lower() in page.lower()
