"""From a spec to a network, whatever its task."""

from dataclasses import replace

import pytest
import torch

from bundles import tiny_spec
from parckit.contract import InputError, shipped_weights
from parckit.networks import build_network, check_input, head_of, names_checkpoint, open_checkpoint
from parckit.processing import make_decoder

SPEC = tiny_spec((32, 48))


def test_the_labels_and_keywords_decide_the_network():
    network = build_network(replace(SPEC, backbone_kwargs={"in_chans": 1, "drop_rate": 0.5}))
    assert network(torch.zeros(2, 1, 32, 48)).shape == (2, len(SPEC.labels))
    assert network.head.drop.p == 0.5


def test_what_is_known_of_a_head_is_what_its_network_gives():
    (output,) = head_of(SPEC).outputs(SPEC)
    assert (output.name, output.layout) == ("logits", "NC")
    logits = build_network(SPEC)(torch.zeros(2, 3, 32, 48))
    assert logits.ndim == len(output.layout)
    make_decoder(head_of(SPEC).decoder(SPEC), SPEC)  # raises if there is no such decoder


@pytest.mark.parametrize("change", [{"task": "segment"}, {"head": "ssd"}], ids=str)
def test_a_head_that_this_version_does_not_know_is_refused(change):
    with pytest.raises(InputError, match=r"this version knows classifier \(classify\)"):
        build_network(replace(SPEC, **change))


def test_pretrained_weights_are_loaded_by_name():
    opened, spec = open_checkpoint(shipped_weights("parcnet_xs.cifar10"))
    spec = replace(spec, backbone="parcnet_xs.cifar10", backbone_kwargs={})
    network = build_network(spec, pretrained=True)
    assert all(torch.equal(value, opened.state_dict()[key]) for key, value in network.state_dict().items())


def test_images_are_tried_on_a_copy_without_data():
    network = build_network(SPEC).train()
    check_input(network, SPEC)
    check_input(network, SPEC, size=(40, 33))
    assert network.training
    assert not any(parameter.is_meta for parameter in network.parameters())


def test_what_was_accepted_is_not_tried_again(monkeypatch):
    tried: list[object] = []
    monkeypatch.setattr("parckit.networks.build.try_images", lambda *args, **kwargs: tried.append(args))
    network = build_network(SPEC)
    for size in ((41, 35), (41, 35), (42, 35)):
        check_input(network, SPEC, size=size)
    assert len(tried) == 2
    other = build_network(replace(SPEC, labels=(*SPEC.labels, "more")))
    check_input(other, SPEC, size=(41, 35))
    assert len(tried) == 3


def test_images_that_a_network_cannot_take_are_named():
    spec = replace(SPEC, backbone="test_vit").with_size((160, 160))
    network = build_network(spec)
    check_input(network, spec)
    with pytest.raises(InputError, match=r"test_vit with \{\} cannot take RGB images of size=\(40, 40\): "):
        check_input(network, spec, size=(40, 40))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.ckpt", True), ("a/b.safetensors", True), ("parcnet_xs.cifar10", True), ("parcnet_xs", False)],
)
def test_names_of_checkpoints_are_told_from_those_of_models(name, is_one):
    assert names_checkpoint(name) is is_one
