"""Fake quantizers in a network: putting them in, calibrating them, finding them.

A network with fake quantizers is the fused one. Its norms are folded and its kernels are constant at its size, so its
fake quantizers see the weights and activations that an engine sees.

A fake quantizer of weights is a parametrization of torch's. Those of inputs and outputs are child modules that hooks
call. So the classes and names of all modules stay as they are, and so do those of all other weights.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from parckit.contract import NetworkSpec, Quantization
from parckit.layers import ConstantAxisConv2d
from parckit.models import fuse
from parckit.networks.fake_quantizer import FakeQuantizer

INPUT, OUTPUT = "input_quantizer", "output_quantizer"
"""Names of the child modules."""
ACTIVATION_BITS = 8
_WEIGHT = "weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeQuantizers:
    """The fake quantizers of a network, by the names of their modules.

    Attributes:
        weights: those of weights.
        weight_scales: the scales that these round with now.
        inputs: those of inputs.
        outputs: those of outputs.
    """

    weights: Mapping[str, FakeQuantizer]
    weight_scales: Mapping[str, Tensor]
    inputs: Mapping[str, FakeQuantizer]
    outputs: Mapping[str, FakeQuantizer]

    @property
    def of_activations(self) -> Iterator[FakeQuantizer]:
        """Those of inputs and outputs."""
        yield from self.inputs.values()
        yield from self.outputs.values()


def prepare_quantization(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Return a copy of a float network that is folded for its spec's size and can be trained."""
    twin = fuse(network, size=spec.preprocessing.size).model
    for module in twin.modules():
        # A module that writes into its input would change the tensor that a fake quantizer of its producer returned.
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # pyright: ignore[reportArgumentType] - torch's type of attributes is too narrow
        # The matrix of the other form is built without gradients.
        if isinstance(module, ConstantAxisConv2d):
            module.form = "conv"
    for parameter in twin.parameters():
        # Folding leaves constants that cannot be trained, and parts of larger tensors.
        parameter.data = parameter.detach().clone(memory_format=torch.contiguous_format)
        parameter.requires_grad = True
    return twin


def add_quantizers(network: nn.Module, quantization: Quantization) -> nn.Module:
    """Put fake quantizers into a network of `prepare_quantization`, in place; return it in training mode.

    The scales of weights fit the weights. Those of activations are not calibrated.
    """
    for name, bits in quantization.weights.items():
        module = network.get_submodule(name)
        weight = cast("nn.Parameter", module.weight)
        quantizer = FakeQuantizer(bits, channels=len(weight))
        quantizer.measure_weights(weight)
        # Without `unsafe`, torch would run the quantizer for a check.
        parametrize.register_parametrization(module, _WEIGHT, quantizer, unsafe=True)
    for name in quantization.inputs:
        module = network.get_submodule(name)
        module.add_module(INPUT, FakeQuantizer(ACTIVATION_BITS))
        module.register_forward_pre_hook(_quantize_input)
    for name in quantization.outputs:
        module = network.get_submodule(name)
        module.add_module(OUTPUT, FakeQuantizer(ACTIVATION_BITS))
        module.register_forward_hook(_quantize_output)
    return network.train()


# Hooks are functions of the module, not of its fake quantizer, so that a copy of a network runs its own ones.
def _quantize_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (module.get_submodule(INPUT)(args[0]), *args[1:])


def _quantize_output(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    del args
    return module.get_submodule(OUTPUT)(output)


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the scales and zero points of all activations by running the network without rounding activations.

    Args:
        network: a network with fake quantizers, in any mode; its mode stays.
        batches: (B, C, H, W) images each. An activation's range is the mean over the batches of its lowest number, to
            the mean of its highest one.
    """
    quantizers, was_training = find_quantizers(network), network.training
    network.eval()
    for quantizer in quantizers.of_activations:
        quantizer.begin_measuring()
    for images in batches:
        network(images)
    for quantizer in quantizers.of_activations:
        quantizer.end_measuring()
    network.train(was_training)


def has_quantizers(network: nn.Module) -> bool:
    """Return whether a network has fake quantizers."""
    return any(isinstance(module, FakeQuantizer) for module in network.modules())


def find_quantizers(network: nn.Module) -> FakeQuantizers:
    """Return the fake quantizers of a network."""
    modules = dict(network.named_modules())
    lists = {
        name: cast("nn.ModuleDict", module.parametrizations)[_WEIGHT]
        for name, module in modules.items()
        if parametrize.is_parametrized(module, _WEIGHT)
    }
    weights = {name: cast("FakeQuantizer", entries[0]) for name, entries in lists.items()}  # pyright: ignore[reportIndexIssue]
    weight_scales = {
        name: weights[name].scale_of(cast("Tensor", entries.original)).detach() for name, entries in lists.items()
    }
    inputs, outputs = (
        {
            name: cast("FakeQuantizer", modules[f"{name}.{child}" if name else child])
            for name, module in modules.items()
            if child in dict(module.named_children())
        }
        for child in (INPUT, OUTPUT)
    )
    return FakeQuantizers(weights=weights, weight_scales=weight_scales, inputs=inputs, outputs=outputs)
