"""Weights that come with the package, without a network (the tests have none)."""

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch

from parckit.contract import shipped_weights
from parckit.data import eval_transform, image_loader, open_images
from parckit.models import preprocessing_of
from parckit.networks import open_checkpoint
from parckit.runtimes import open_session
from repository import ROOT

NAME = "parcnet_xs.cifar10"
CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"


def test_timm_loads_them():
    model = timm.create_model(NAME, pretrained=True).eval()
    opened, spec = open_checkpoint(Path(NAME))
    for key, value in opened.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert preprocessing_of(model) == spec.preprocessing
    assert model.pretrained_cfg["label_names"] == spec.labels
    assert sum(parameter.numel() for parameter in model.parameters()) < 2.5e6


def test_they_serve_other_classes_channels_and_features():
    trained = timm.create_model(NAME, pretrained=True)
    fresh_head = timm.create_model(NAME, pretrained=True, num_classes=3)
    assert fresh_head.head.fc.out_features == 3
    assert torch.equal(fresh_head.final_conv.conv.weight, trained.final_conv.conv.weight)
    grey = timm.create_model(NAME, pretrained=True, in_chans=1).eval()
    assert grey(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
    features = timm.create_model(NAME, pretrained=True, features_only=True).eval()
    assert [feature_map.shape[3] for feature_map in features(torch.zeros(1, 3, 32, 32))] == [32, 16, 8, 4, 4]


def test_the_bare_name_means_the_untrained_model():
    model = timm.create_model("parcnet_xs")
    assert model.num_classes == 1000
    assert model.pretrained_cfg["tag"] == "untrained"
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model("parcnet_xs", pretrained=True)


@pytest.mark.parametrize("name", ["parcnet_xs", "parcnet_xs.untrained", "../weights/parcnet_xs.cifar10", ""])
def test_other_names_are_no_weights(name):
    assert shipped_weights(name) is None


def test_they_are_those_of_the_record():
    record = json.loads((ROOT / "benchmarks" / "records" / "cifar10_parcnet_xs.json").read_text(encoding="utf-8"))
    assert hashlib.sha256(shipped_weights(NAME).read_bytes()).hexdigest() == record["values"]["half_sha256"]


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10 (../shared/data) is not here")
def test_they_know_the_test_images():
    session = open_session(Path(NAME))
    transform = eval_transform(session.spec.preprocessing)
    images = open_images(str(CIFAR10 / "test-0000.tar.gz"), split="test", transform=transform)
    batch = next(iter(image_loader(images, batch_size=200)))
    (logits,) = session(batch.images.numpy())
    # The record says how many of all 10,000 images it knows: 91 %. The standard error of 200 images is 2 %.
    assert (logits.argmax(1) == batch.targets.numpy()).mean() > 0.89
