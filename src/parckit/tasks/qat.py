"""Quantization-aware training (QAT): from a float network to the network with fake quantizers that is trained.

The block `qat` of a recipe stands beside `ema`: both change what is trained in the same way for every task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from parckit.contract import LEAST_BITS, MOST_BITS, InputError, NetworkSpec, begin_with_batch
from parckit.networks import (
    add_quantizers,
    build_network,
    calibrate,
    find_quantizers,
    head_of,
    place_quantizers,
    prepare_quantization,
)
from parckit.tasks.resumable import Resumable


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class QatSettings:
    """Quantization-aware training: a few epochs from a float network, with weights and activations rounded.

    Attributes:
        weight_bits: bits of weights. Activations have 8 bits.
        keep_float: names of modules of the folded network that stay float, with everything inside them.
        images: number of training images that choose the first ranges of activations.

    Raises:
        InputError: if a value is not accepted.
    """

    weight_bits: int = 8
    keep_float: tuple[str, ...] = ()
    images: int = 256

    def __post_init__(self) -> None:
        if not LEAST_BITS <= self.weight_bits <= MOST_BITS:
            raise InputError(f"qat.weight_bits={self.weight_bits}: must be from {LEAST_BITS} to {MOST_BITS}")
        if self.images < 1:
            raise InputError(f"qat.images={self.images}: must be 1 or more")


def check_qat(*, weights: str | None, goes_on: bool, sizes: Sequence[tuple[int, int]]) -> None:
    """Check that a recipe with the block `qat` can be trained.

    Args:
        weights: what it starts from.
        goes_on: whether it goes on from a checkpoint.
        sizes: sizes of the training images.

    Raises:
        InputError: if not.
    """
    if weights is None and not goes_on:
        raise InputError("--qat: starts from a float network that is trained already; name it: --model.weights")
    if len(sizes) > 1:
        raise InputError("--qat: trains the network that is exported, which is folded for one size; no --data.sizes")


def quantized_spec(spec: NetworkSpec, settings: QatSettings, *, start: Resumable | None = None) -> NetworkSpec:
    """Return the spec of the network with its fake quantizers.

    Args:
        spec: the float network.
        settings: what is quantized.
        start: the checkpoint that the training goes on from. Its fake quantizers stay.

    Raises:
        InputError: if the network has two stages, or the settings do not fit it.
    """
    if not begin_with_batch(head_of(spec).outputs(spec)):
        raise InputError(f"--qat: {spec.head}: detectors with two stages are not quantized")
    if start is not None and start.spec.quantization is not None:
        return replace(spec, quantization=start.spec.quantization)
    network = prepare_quantization(build_network(spec), spec)
    try:
        places = place_quantizers(network, spec, weight_bits=settings.weight_bits, keep_float=settings.keep_float)
    except InputError as error:
        raise InputError(f"--qat: {error}") from error
    return replace(spec, quantization=places)


def with_quantizers(network: nn.Module, spec: NetworkSpec) -> nn.Module:
    """Return a folded copy of a float network, with the fake quantizers of a spec. They are not calibrated."""
    if spec.quantization is None:
        return network
    return add_quantizers(prepare_quantization(network, spec), spec.quantization)


def begin_qat(network: nn.Module, images: Iterable[Tensor]) -> str:
    """Calibrate a network, and return a line for the user."""
    calibrate(network, images)
    quantizers = find_quantizers(network)
    bits = ", ".join(sorted({f"{quantizer.bits} bits" for quantizer in quantizers.weights.values()}))
    activations = len(quantizers.inputs) + len(quantizers.outputs)
    return f"fake quantizers: {len(quantizers.weights)} weights ({bits}) and {activations} activations (8 bits)"
