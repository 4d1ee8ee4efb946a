"""What must be known to build the fake quantizers of a network again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parckit.contract.errors import InputError

QuantizationScheme = Literal["learned_scales"]
"""Weights are symmetric around zero, with one learned scale for every output channel. Activations have one learned
scale for the whole tensor, and a zero point that calibration chose.
"""

LEAST_BITS, MOST_BITS = 2, 8
"""Bits of weights. One bit cannot hold a sign and a zero. Artefacts store whole numbers of 8 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """The fake quantizers of a network: which modules have one. Activations have 8 bits.

    The modules are those of the network that `parckit.fuse` makes for the size in the network's spec. So these names,
    as the names of weights, must not change: older checkpoints hold them.

    Attributes:
        scheme: how a number becomes a whole number.
        weights: name of a module -> bits of its weights.
        inputs: names of the modules whose first input is rounded.
        outputs: names of the modules whose output is rounded.

    Raises:
        InputError: for a number of bits that no artefact can hold.
    """

    scheme: QuantizationScheme = "learned_scales"
    weights: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, bits in self.weights.items():
            if not LEAST_BITS <= bits <= MOST_BITS:
                raise InputError(f"weights of {name}: {bits} bits; must be from {LEAST_BITS} to {MOST_BITS}")
