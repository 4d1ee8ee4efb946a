"""From a network with fake quantizers back to a plain one."""

from dataclasses import replace

import torch
from torch import nn

from parckit.contract import NetworkSpec
from parckit.networks.build import build_network
from parckit.networks.quantizing import find_quantizers, prepare_quantization


def float_network(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Return a network itself, or the rounded one if it has fake quantizers."""
    return network if spec.quantization is None else rounded_network(network, spec)


@torch.no_grad()
def rounded_network(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Return the folded network without fake quantizers, with the rounded weights, in eval mode on the CPU.

    Args:
        network: a network with fake quantizers; it is not changed.
        spec: its spec.
    """
    plain = prepare_quantization(build_network(replace(spec, quantization=None)), spec)
    wanted = plain.state_dict().keys()
    state = {name: value for name, value in network.state_dict().items() if name in wanted}
    for name in find_quantizers(network).weights:
        state[f"{name}.weight"] = network.get_submodule(name).weight
    plain.load_state_dict(state)
    return plain.cpu().eval()
