import logging
from dataclasses import replace

import pytest
import timm
import torch
from timm.data import ImageNetInfo

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import save_weights
from parckit.tasks.weights import expected_preprocessing, initial_network, pretrained_labels

KWARGS = {"img_size": 32}
SPEC = NetworkSpec(
    backbone="test_parcnet", backbone_kwargs=KWARGS, labels=("ant", "bee"), preprocessing=Preprocessing(size=(32, 32))
)
OTHERS = NetworkSpec(
    backbone="test_parcnet", backbone_kwargs=KWARGS, labels=("cat", "cow", "dog"), preprocessing=SPEC.preprocessing
)


@pytest.fixture
def saved(tmp_path):
    """Return weights for two classes, and their file."""
    torch.manual_seed(3)
    model = timm.create_model("test_parcnet", num_classes=2, **KWARGS)
    save_weights(model, SPEC, tmp_path / "saved.safetensors")
    return model.state_dict(), str(tmp_path / "saved.safetensors")


def test_the_same_classes_keep_everything(saved):
    state, path = saved
    initial = initial_network(SPEC, weights=path).state_dict()
    assert all(torch.equal(initial[key], value) for key, value in state.items())


def test_other_classes_get_a_fresh_classifier(saved):
    state, path = saved
    initial = initial_network(OTHERS, weights=path).state_dict()
    changed = {key for key, value in state.items() if not torch.equal(initial[key], value)}
    assert changed <= {"head.fc.weight", "head.fc.bias"}
    assert initial["head.fc.weight"].shape[0] == 3


def test_weights_for_colours_serve_grey_images(saved, caplog):
    state, path = saved
    grey = replace(SPEC, backbone_kwargs={**KWARGS, "in_chans": 1}, preprocessing=SPEC.preprocessing.as_grey())
    network = initial_network(grey, weights=path)
    assert not caplog.records
    assert expected_preprocessing("test_parcnet", {"in_chans": 1}, weights=path) == grey.preprocessing
    colours = initial_network(SPEC, weights=path).eval()
    images = torch.rand(2, 1, 32, 32)
    # Grey images look the same to both; a few roundings of float32.
    torch.testing.assert_close(network.eval()(images), colours(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    assert {key for key in state if network.state_dict()[key].shape != state[key].shape} == {"stem.conv.weight"}


def test_without_weights_they_are_fresh(saved):
    state, _ = saved
    torch.manual_seed(4)
    assert not torch.equal(
        initial_network(SPEC, weights=None).state_dict()["stem.conv.weight"], state["stem.conv.weight"]
    )


def test_weights_of_another_shape_are_refused_by_name(saved):
    _, path = saved
    other = NetworkSpec(backbone="test_parcnetv2", labels=SPEC.labels, preprocessing=SPEC.preprocessing)
    with pytest.raises(InputError, match=rf"model.weights={path}: made by test_parcnet .*do not fit .* more"):
        initial_network(other, weights=path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.ckpt: no such file"):
        initial_network(SPEC, weights=str(tmp_path / "none.ckpt"))


def test_a_model_without_pretrained_weights_says_so():
    with pytest.raises(InputError, match=r"for test_parcnet: No pretrained weights exist"):
        initial_network(SPEC, weights="pretrained")


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize(("labels", "kept"), [(CIFAR, True), (CIFAR[::-1], False), (tuple("0123456789"), False)])
def test_pretrained_weights_keep_the_classifier_of_the_same_classes_alone(labels, kept):
    spec = NetworkSpec(backbone="parcnet_xs.cifar10", labels=labels, preprocessing=Preprocessing(size=(32, 32)))
    initial = initial_network(spec, weights="pretrained").state_dict()
    pretrained = timm.create_model(spec.backbone, pretrained=True).state_dict()
    assert torch.equal(initial["stem.conv.weight"], pretrained["stem.conv.weight"])
    assert initial["head.fc.weight"].shape == pretrained["head.fc.weight"].shape
    assert torch.equal(initial["head.fc.weight"], pretrained["head.fc.weight"]) is kept


def test_imagenet_weights_keep_their_classifier_on_imagenet():
    synsets = tuple(ImageNetInfo().label_names())
    assert pretrained_labels(timm.create_model("test_parcnet", num_classes=7)) == synsets
    assert pretrained_labels(timm.create_model("parcnet_xs.cifar10")) == CIFAR


def test_pretrained_as_a_keyword_of_the_model_is_refused():
    spec = NetworkSpec(
        backbone="test_parcnet",
        backbone_kwargs={"pretrained": True},
        labels=SPEC.labels,
        preprocessing=SPEC.preprocessing,
    )
    with pytest.raises(InputError, match=r"set model\.weights"):
        initial_network(spec, weights=None)


def test_other_colours_are_warned_of(saved, caplog):
    _, path = saved
    colours = Preprocessing(size=(32, 32), mean=(0.5, 0.5, 0.5))
    spec = NetworkSpec(backbone="test_parcnet", backbone_kwargs=KWARGS, labels=SPEC.labels, preprocessing=colours)
    with caplog.at_level(logging.WARNING):
        initial_network(spec, weights=path)
    assert "expect mean, std and channel order" in caplog.text
