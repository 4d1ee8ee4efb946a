from dataclasses import replace

import pytest
import torch

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import build_network, copy_weights, create_detector, save_weights

CLASSIFIER = NetworkSpec(backbone="test_resnet", labels=("a", "b"), preprocessing=Preprocessing(size=(64, 64)))


@pytest.fixture
def classifier(tmp_path):
    path = tmp_path / "classifier.safetensors"
    network = build_network(CLASSIFIER)
    save_weights(network, CLASSIFIER, path)
    return path, network.state_dict()


@pytest.mark.parametrize("name", ["ssd_test_resnet", "tinydet_test_resnet"])
def test_a_detector_takes_the_backbone_of_a_classifier(name, classifier):
    path, weights = classifier
    detector = create_detector(name, num_classes=3, pretrained_backbone=path)
    copied = detector.state_dict()
    for key, value in weights.items():
        if not key.startswith("fc."):
            assert torch.equal(copied[f"backbone.model.{key}"], value)


def test_the_backbone_takes_keywords():
    detector = create_detector("tinydet_resnet10t", num_classes=3, backbone_kwargs={"channels": (8, 16, 24, 32)})
    assert detector.backbone.channels == (16, 24, 32)


@pytest.mark.parametrize("head", ["ssd", "tinydet"])
def test_a_detector_for_other_classes_gives_everything_but_the_last_layers(head, tmp_path):
    spec = replace(CLASSIFIER, task="detect", head=head)
    source = build_network(spec)
    save_weights(source, spec, tmp_path / "detector.safetensors")
    other = replace(spec, labels=("x", "y", "z"))
    network = build_network(other)
    fresh = {key for key, value in network.state_dict().items() if value.shape != source.state_dict()[key].shape}
    copy_weights(network, other, path=tmp_path / "detector.safetensors")
    assert fresh
    for key, value in network.state_dict().items():
        assert key in fresh or torch.equal(value, source.state_dict()[key])


def test_a_classifier_takes_the_backbone_of_a_detector_that_lacks_nothing(classifier, tmp_path):
    spec = replace(CLASSIFIER, task="detect", head="tinydet")
    detector = build_network(spec)
    save_weights(detector, spec, tmp_path / "detector.safetensors")
    network = build_network(CLASSIFIER)
    copy_weights(network, CLASSIFIER, path=tmp_path / "detector.safetensors")
    weights = detector.state_dict()
    for key, value in network.state_dict().items():
        assert key.startswith("fc.") or torch.equal(value, weights[f"backbone.model.{key}"])


def test_another_backbone_is_refused(classifier):
    path, _ = classifier
    with pytest.raises(InputError, match="made by test_resnet"):
        create_detector("tinydet_mobilenetv2_050", num_classes=3, pretrained_backbone=path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("parcnet_s", {}, "must be HEAD_BACKBONE, with one of the heads"),
        ("ssd_no_such_model", {}, "no such model"),
        ("ssd_parcnet_xs", {"num_classes": 0}, "num_classes=0"),
        ("tinydet_parcnet_xs", {"width": "wide"}, "width"),
        ("tinydet_parcnet_xs", {"strides": [8, 32]}, "twice the one before"),
        ("tinydet_parcnet_xs", {"backbone_kwargs": {"wide": True}}, "wide"),
    ],
)
def test_what_cannot_be_built_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        create_detector(name, **{"num_classes": 3, **options})
