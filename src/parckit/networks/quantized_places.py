"""Where fake quantizers belong in a network, found by a recorded run.

The rules are those of `parckit quantize --between false`.

Convolutions and linear layers compute with whole numbers. So they need rounded weights, inputs and outputs:

* An output that only a ReLU reads is rounded after the ReLU, since engines compute both at once. What the network
  returns stays as it is, so that 256 levels do not decide between two classes.
* An input that another such module has rounded already is taken as it is. Any other is rounded where it is read. So the
  sum along a residual path is not rounded again in every block. If several such modules read it, the module that made
  it rounds it once for all.
* The gate of a squeeze-and-excitation block stays float: it scales whole channels, so its error counts at every
  position, and its two products on a single position take no time. Norms, softmax and other functions stay float, too.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Quantization
from parckit.layers import ConstantAxisConv2d
from parckit.models.folding_trace import Trace, watch

# Only these exact classes: a subclass may use its weights in another way, as weight-standardised convolutions do.
_COMPUTING = (nn.Conv2d, Conv2dSame, nn.Linear, ConstantAxisConv2d)
_FUSED_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
"""Activations that an engine computes as a part of the convolution before them: they only cut off."""


def place_quantizers(
    network: nn.Module, spec: NetworkSpec, *, weight_bits: int, keep_float: Sequence[str] = ()
) -> Quantization:
    """Find the places for fake quantizers.

    Args:
        network: from `prepare_quantization`.
        spec: its spec; says the size of its images.
        weight_bits: bits of weights.
        keep_float: names of modules that stay float, with everything inside them.

    Raises:
        InputError: if `keep_float` names a module that the network does not have, or nothing is left to quantize.
    """
    modules = dict(network.named_modules())
    for kept in keep_float:
        if kept not in modules:
            raise InputError(f"keep_float={kept}: the folded network has no module of this name")
    preprocessing = spec.preprocessing
    images = torch.zeros(1, preprocessing.channels, *preprocessing.size).to(next(network.parameters()))
    trace = watch(network, images)
    computing = {
        name: module
        for name, module in modules.items()
        if type(module) in _COMPUTING
        and module in trace.calls
        and not _is_gate(name, modules, trace)
        and not any(name == kept or name.startswith(f"{kept}.") for kept in keep_float)
    }
    if not computing:
        raise InputError(f"{spec.backbone}: has no convolution or linear layer to quantize")
    outputs, inputs = _find_activations(computing, modules, trace)
    return Quantization(weights=dict.fromkeys(computing, weight_bits), inputs=tuple(inputs), outputs=tuple(outputs))


def _find_activations(
    computing: dict[str, nn.Module], modules: dict[str, nn.Module], trace: Trace
) -> tuple[list[str], list[str]]:
    """Return the names of the modules whose outputs are rounded, and of those whose inputs are."""
    names = {module: name for name, module in modules.items()}
    cutting = {
        id(call.x): module
        for module in modules.values()
        if type(module) in _FUSED_ACTIVATIONS
        for call in trace.calls.get(module, ())
    }
    # The outputs.
    rounding = dict[str, None]()
    rounded = set[int]()
    for name, module in computing.items():
        for call in trace.calls[module]:
            after = cutting.get(id(call.out)) if trace.is_read_once(call.out) else None
            last, out = (name, call.out) if after is None else (names[after], trace.calls[after][0].out)
            if id(out) not in trace.returned:
                rounding[last] = None
                rounded.add(id(out))
    # The inputs.
    readers = defaultdict[int, dict[str, None]](dict[str, None])
    for name, module in computing.items():
        for call in trace.calls[module]:
            if id(call.x) not in rounded:
                readers[id(call.x)][name] = None
    makers = _makers(trace)
    reading = dict[str, None]()
    for tensor, names_of_readers in readers.items():
        if len(names_of_readers) > 1 and tensor in makers:
            rounding[names[makers[tensor]]] = None
        else:
            reading |= names_of_readers
    return list(rounding), list(reading)


def _makers(trace: Trace) -> dict[int, nn.Module]:
    """Return which module made each tensor: the innermost one that returned it, and did not get it itself.

    A sequence is none: its last child is. Modules are recorded when they return, so inner ones come first.
    """
    makers: dict[int, nn.Module] = {}
    for module, calls in trace.calls.items():
        for call in calls:
            if isinstance(call.out, Tensor) and call.out is not call.x and not isinstance(module, nn.Sequential):
                makers.setdefault(id(call.out), module)
    return makers


def _is_gate(name: str, modules: dict[str, nn.Module], trace: Trace) -> bool:
    """Tell whether a module computes on one position, inside a block that returns a map of the size that it got."""
    if not all(call.x.ndim == 2 or call.x.shape[2:] == (1, 1) for call in trace.calls[modules[name]]):
        return False
    parts = name.split(".")
    around = (modules[".".join(parts[:length])] for length in range(1, len(parts)))
    return any(_keeps_size(call.x, call.out) for parent in around for call in trace.calls.get(parent, ()))


def _keeps_size(x: Tensor, out: object) -> bool:
    return isinstance(out, Tensor) and x.ndim == out.ndim == 4 and x.shape[2:] == out.shape[2:] != (1, 1)
