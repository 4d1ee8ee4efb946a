from dataclasses import replace

import pytest
import torch

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import build_network, copy_weights, create_detector, create_segmenter, save_weights

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


def test_a_segmenter_takes_the_backbone_of_a_classifier(classifier):
    path, weights = classifier
    copied = create_segmenter("lraspp_test_resnet", num_classes=3, pretrained_backbone=path).state_dict()
    for key, value in weights.items():
        assert key.startswith("fc.") or torch.equal(value, copied[f"backbone.model.{key}"])


def test_norms_on_the_maps_stay_fresh_where_a_classifier_has_none(tmp_path):
    spec = replace(CLASSIFIER, backbone="test_parcnetv2")
    classifier = build_network(spec)
    save_weights(classifier, spec, tmp_path / "classifier.safetensors")
    segmenter = create_segmenter(
        "upernet_test_parcnetv2",
        num_classes=3,
        pretrained_backbone=tmp_path / "classifier.safetensors",
        backbone_kwargs={"feature_norms": True},
        width=8,
    )
    copied = segmenter.state_dict()
    assert "backbone.model.feature_norms.0.weight" in copied
    assert torch.equal(copied["backbone.model.stem.conv.weight"], classifier.stem.conv.weight)


@pytest.mark.parametrize("has_auxiliary", [False, True])
def test_an_auxiliary_head_may_be_added_or_left_out(has_auxiliary, tmp_path):
    sides = [
        replace(CLASSIFIER, task="segment", head="deeplabv3", head_kwargs={"width": 8, "auxiliary": auxiliary})
        for auxiliary in (has_auxiliary, not has_auxiliary)
    ]
    source, network = map(build_network, sides)
    save_weights(source, sides[0], tmp_path / "segmenter.safetensors")
    copy_weights(network, sides[1], path=tmp_path / "segmenter.safetensors")
    weights = source.state_dict()
    for key, value in network.state_dict().items():
        assert key.startswith("auxiliary.") or torch.equal(value, weights[key])


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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tinydet_parcnet_s", {}, "must be HEAD_BACKBONE, with one of the heads deeplabv3, lraspp, upernet"),
        ("upernet_no_such_model", {}, "no such model"),
        ("upernet_test_resnet", {"num_classes": 0}, "num_classes=0"),
        ("upernet_test_resnet", {"width": 0}, "width=0"),
        ("upernet_test_resnet", {"rates": [6]}, "'rates' is unknown"),
        ("upernet_parcnet_xxs", {}, "has no map of stride 32"),
        ("lraspp_test_resnet", {"output_stride": 8}, "output_stride=8"),
    ],
)
def test_segmenters_that_cannot_be_built_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        create_segmenter(name, **{"num_classes": 3, **options})
