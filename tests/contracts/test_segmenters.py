"""What every segmentation head promises over every kind of backbone: shapes, training, folding, export."""

import functools
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from backbones import SHALLOW, SLIM, as_if_trained, images
from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert import load_converter, source_of
from parckit.measure.cost import count
from parckit.measure.tolerance import TOLERANCES
from parckit.models import copy_model, fuse
from parckit.networks import HEADS, Segmenter, build_network, head_of
from parckit.runtimes import find_engine
from parckit.runtimes.engines import load_engine

SIZE = (64, 96)
ODD = (67, 101)
STRIDES = {"deeplabv3": 16, "lraspp": 8, "upernet": 4}
WITH_AUXILIARY = ("deeplabv3", "upernet")
BACKBONES = (
    "test_parcnet",
    "test_parcnetv2",
    "parc_convnext_xt",
    "parc_resnet50",
    "parc_mobilenetv2",
    "mobilevit_xxs",
    "test_resnet",
)
ROUNDED_DOWN = ("parc_convnext_xt",)
"""Backbones whose maps have no position for what is left at the border of an image."""
# UPerNet reads all maps of a backbone. DeepLabv3 dilates, which what attends cannot do.
PAIRS = [
    *(("upernet", backbone) for backbone in BACKBONES),
    *(("deeplabv3", backbone) for backbone in ("test_parcnet", "parc_convnext_xt", "parc_mobilenetv2", "test_resnet")),
    *(("lraspp", backbone) for backbone in ("test_parcnetv2", "parc_resnet50", "mobilevit_xxs")),
]
# What backbones promise alone, tests/contracts/test_backbones.py and tests/models see; with a head it may differ where
# the backbone dilates or ends early, or where ParC's lengths depend on the size.
LINKED = [(head, backbone) for head, backbone in PAIRS if head != "upernet" or backbone.startswith("test_")]
# Every head, every kind of block that fuse and export treat by rules of their own, both forms of pooling, and both of
# torch's exporters. The older one (below opset 18) is quicker.
EXPORTED = [
    ("lraspp", "test_resnet", 17),
    ("deeplabv3", "test_parcnet", 17),
    ("upernet", "test_parcnetv2", 17),
    ("upernet", "test_resnet", 18),
]

every_pair = pytest.mark.parametrize(("head", "backbone"), PAIRS)
every_link = pytest.mark.parametrize(("head", "backbone"), LINKED)
every_head = pytest.mark.parametrize("head", STRIDES)
exported = pytest.mark.parametrize(("head", "backbone", "opset"), EXPORTED)


def spec_of(head: str, backbone: str = "test_resnet", **kwargs: object) -> NetworkSpec:
    return NetworkSpec(
        task="segment",
        backbone=backbone,
        backbone_kwargs=SLIM.get(backbone) or SHALLOW.get(backbone, {}),
        head=head,
        head_kwargs={"width": 8} | kwargs,
        labels=("sky", "road", "car"),
        preprocessing=Preprocessing(size=SIZE),
    )


def network_of(head: str, backbone: str = "test_resnet", *, auxiliary: bool = False) -> Segmenter:
    return copy_model(_built(head, backbone, auxiliary))


@functools.cache  # a copy takes a tenth of the time
def _built(head: str, backbone: str, auxiliary: bool) -> Segmenter:
    spec = spec_of(head, backbone, **({"auxiliary": True} if auxiliary else {}))
    network = as_if_trained(build_network(spec)).eval()
    assert isinstance(network, Segmenter)
    return network


def test_every_head_is_tested():
    assert {name for task, name in HEADS if task == "segment"} == STRIDES.keys()


@every_pair
@torch.no_grad()
def test_logits_have_the_promised_stride_at_every_size(head, backbone):
    network = network_of(head, backbone)
    for size in (SIZE, ODD):
        logits = network(images(*size))
        sides = [side // STRIDES[head] for side in size]
        if backbone not in ROUNDED_DOWN:
            sides = [-(-side // STRIDES[head]) for side in size]
        assert logits.shape == (2, 3, *sides)


@every_head
def test_what_is_known_of_a_head_is_what_its_network_gives(head):
    spec = spec_of(head)
    (output,) = head_of(spec).outputs(spec)
    assert (output.name, output.layout, output.shape) == ("logits", "NCHW", (None, 3, None, None))
    assert head_of(spec).decoder(spec).name == "segment"


@every_link
def test_every_weight_gets_a_gradient(head, backbone):
    torch.manual_seed(0)
    network = network_of(head, backbone, auxiliary=head in WITH_AUXILIARY).train()
    logits, beside = network.training_logits(images(*SIZE))
    assert (beside is None) == (head not in WITH_AUXILIARY)
    loss = logits.square().mean() + (0 if beside is None else beside.square().mean())
    loss.backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("head", WITH_AUXILIARY)
@torch.no_grad()
def test_an_auxiliary_head_costs_nothing_but_in_training(head):
    plain, network = (network_of(head, auxiliary=auxiliary) for auxiliary in (False, True))
    assert plain.training_logits(images(*SIZE))[1] is None
    logits, beside = network.training_logits(images(*SIZE))
    torch.testing.assert_close(logits, network(images(*SIZE)), rtol=0, atol=0)
    assert beside.shape == (2, 3, 4, 6)
    assert count(network, size=SIZE) == count(plain, size=SIZE)
    names = {name for name, _ in network.named_parameters()}
    assert names - {name for name, _ in plain.named_parameters()} == {
        name for name in names if name.startswith("auxiliary.")
    }
    assert fuse(network, size=SIZE).model.auxiliary is None
    assert network.auxiliary is not None


@every_head
def test_the_weights_that_depend_on_classes_are_named(head):
    auxiliary = {"auxiliary": True} if head in WITH_AUXILIARY else {}
    spec = spec_of(head, **auxiliary)
    few, many = (build_network(replace(spec, labels=tuple("abcdef"[:number]))) for number in (3, 6))
    shapes = {name: value.shape for name, value in many.state_dict().items()}
    differ = {name for name, value in few.state_dict().items() if value.shape != shapes[name]}
    prefixes = head_of(spec).label_weights(few)
    assert differ == {name for name in shapes if name.startswith(prefixes)}


@every_link
@torch.no_grad()
def test_folding_is_exact(head, backbone):
    network = network_of(head, backbone).double()
    x = images(*ODD).double()
    fused = fuse(network, size=ODD)
    expected = network(x)
    # 1e-10 is what fuse promises in float64.
    assert (fused(x) - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d | nn.AdaptiveAvgPool2d) for module in fused.modules())


@exported
@torch.no_grad()
def test_they_leave_as_onnx_with_the_same_numbers(head, backbone, opset, tmp_path):
    spec = spec_of(head, backbone)
    network, converter = network_of(head, backbone), load_converter("onnxruntime")
    source = source_of(fuse(network, size=SIZE), spec, work=tmp_path)
    settings = ExportSettings(onnx=OnnxSettings(opset=opset))
    artefact = converter.convert(source, folder=tmp_path, settings=settings, precision="fp32")
    assert artefact.outputs[0].shape == (1, 3, *(side // STRIDES[head] for side in SIZE))
    path = tmp_path / next(iter(artefact.files))
    x = images(*SIZE)
    (logits,) = load_engine(find_engine("onnxruntime"), what="").open_file(path, threads=1)(x.numpy())
    expected = network(x).numpy()
    # Norms are folded and sums have another order, in float32.
    assert np.abs(logits - expected).max() <= TOLERANCES["fp32"].numbers * np.abs(expected).max()
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    nodes = Counter(node.op_type for node in graph.node)
    assert not nodes.keys() & {"Shape", "Gather", "Slice", "Unsqueeze", "Cast", "Loop", "If"}
    # DeepLabv3 spreads a mean over the map, and LR-ASPP upsamples once. UPerNet brings 4 pooled maps to one size, 3 to
    # the next finer one, and 3 to the finest.
    resizings = [node for node in graph.node if node.op_type == "Resize"]
    assert len(resizings) == {"deeplabv3": 1, "lraspp": 1, "upernet": 10}[head]
    assert {node.input[3] for node in resizings} <= constants


@torch.no_grad()
def test_opset_13_has_static_sizes_too(tmp_path):
    spec = spec_of("upernet")
    settings = ExportSettings(onnx=OnnxSettings(opset=13))
    source = source_of(fuse(network_of("upernet"), size=SIZE), spec, work=tmp_path)
    artefact = load_converter("onnxruntime").convert(source, folder=tmp_path, settings=settings, precision="fp32")
    graph = onnx.load(tmp_path / next(iter(artefact.files))).graph
    assert not {node.op_type for node in graph.node} & {"Shape", "Gather", "Slice", "Cast"}
