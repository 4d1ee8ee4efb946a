"""Fake quantizers in networks: their places, copies, checkpoints, gradients."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from backbones import as_if_trained
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import (
    add_quantizers,
    build_network,
    calibrate,
    check_input,
    find_quantizers,
    open_checkpoint,
    place_quantizers,
    prepare_quantization,
    rounded_network,
    save_weights,
)


def spec_of(backbone: str) -> NetworkSpec:
    size = (64, 64)
    return NetworkSpec(backbone=backbone, labels=("a", "b", "c"), preprocessing=Preprocessing(size=size))


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["test_parcnet", "test_parcnetv2"])
def quantized(request) -> tuple[nn.Module, NetworkSpec, nn.Module]:
    """Return a calibrated network with fake quantizers, its spec, and the float network."""
    torch.manual_seed(0)
    spec = spec_of(request.param)
    network = as_if_trained(build_network(spec)).eval()
    twin = prepare_quantization(network, spec)
    spec = replace(spec, quantization=place_quantizers(twin, spec, weight_bits=8))
    trained = add_quantizers(twin, spec.quantization)
    calibrate(trained, [images(8)])
    return trained.eval(), spec, network


@torch.no_grad()
def test_it_gives_nearly_what_the_float_network_gives(quantized):
    trained, spec, network = quantized
    expected, actual = network(images()), trained(images())
    assert not torch.equal(expected, actual)
    # Networks with random weights amplify the rounding of noise; half of the norm still refuses a wrong range.
    assert (actual - expected).norm() < 0.5 * expected.norm()
    check_input(trained, spec)


@torch.no_grad()
def test_a_checkpoint_is_opened_from_its_spec_alone(quantized, tmp_path):
    trained, spec, _ = quantized
    save_weights(trained, spec, tmp_path / "trained.safetensors")
    opened, opened_spec = open_checkpoint(tmp_path / "trained.safetensors")
    assert opened_spec == spec
    assert torch.equal(opened(images()), trained(images()))


def test_every_weight_is_trained_and_a_copy_is_independent(quantized):
    copy = deepcopy(quantized[0]).train()
    before = quantized[0](images())
    copy(images()).square().sum().backward()
    assert [name for name, weight in copy.named_parameters() if weight.grad is None] == []
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(1)
    assert torch.equal(quantized[0](images()), before)


@torch.no_grad()
def test_the_rounded_network_is_the_trained_one_without_rounding_activations(quantized):
    trained, spec, _ = quantized
    plain = rounded_network(trained, spec)
    assert not any("quantizer" in name or "parametrizations" in name for name, _ in plain.named_modules())
    quantizers = find_quantizers(trained)
    for name, scale in quantizers.weight_scales.items():
        levels = plain.get_submodule(name).weight.flatten(1) / scale[:, None]
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        assert levels.abs().max() <= 127.001, "8 bits"
    measured = deepcopy(trained)
    for quantizer in find_quantizers(measured).of_activations:
        quantizer.begin_measuring()
    # Float32 in another order of the same sums.
    torch.testing.assert_close(plain(images()), measured(images()), rtol=1e-4, atol=1e-5)


def test_gates_and_norms_stay_float():
    spec = spec_of("test_parcnet")
    network = prepare_quantization(build_network(spec), spec)
    places = place_quantizers(network, spec, weight_bits=8)
    computing = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    left = computing - places.weights.keys()
    assert left
    assert all(".gate." in name for name in left)
    assert "stem.conv" in places.inputs
    assert "head.fc" not in places.outputs, "what the network returns stays as it is"
    four_bits = place_quantizers(network, spec, weight_bits=4, keep_float=("stem", "head"))
    assert {*places.weights} - {*four_bits.weights} == {"stem.conv", "head.fc"}
    assert {*four_bits.weights.values()} == {4}
    with pytest.raises(InputError, match="keep_float=nothing: the folded network has no module"):
        place_quantizers(network, spec, weight_bits=8, keep_float=("nothing",))


class Block(nn.Module):
    """Convolutions before a ReLU, before a sum, and two that read one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.relu, self.sigmoid = nn.ReLU(), nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.sigmoid(x + self.second(self.relu(self.first(x))))
        return self.third(x) + self.fourth(x)


def test_each_tensor_is_rounded_once():
    places = place_quantizers(Block().eval(), spec_of("none"), weight_bits=8)
    assert {*places.outputs} == {"relu", "second", "third", "fourth", "sigmoid"}
    assert places.inputs == ("first",)
