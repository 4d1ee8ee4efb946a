"""The settings of a quantization."""

from dataclasses import dataclass
from typing import Literal, get_args

from parckit.contract import InputError

Calibrator = Literal["minmax", "percentile", "mse", "entropy"]
"""How the range of an activation is chosen."""

Rounding = Literal["nearest", "gptq", "adaround"]
"""How weights are rounded."""

RaisedTo = Literal["float32", "int16"]
"""What a node becomes whose quantization to 8 bits costs too much."""

_DECIDING = ("rounding", "equalize", "bias_correction", "between", "avoid_saturation")
"""Settings that decide the numbers of every network, beside the calibrator and the seed."""

_LOWEST_PERCENTILE = 90.0
"""Ranges that cut off more than a tenth of the numbers are certainly a mistake, such as 0.9999 for 99.99."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeSettings:
    """How a network is quantized after its training.

    Attributes:
        samples: number of calibration pictures.
        engines: the engines that shall run the network in int8.
        calibrator: how the ranges of activations are chosen: `minmax` takes all numbers that calibration saw,
            `percentile` nearly all, `mse` the range with the least squared error, and `entropy` the one that keeps the
            distribution, measured by the Kullback-Leibler divergence.
        percentile: share of an activation's numbers, in percent, that its range keeps; for the calibrator percentile.
        equalize: make the channels of a tensor equally large, also along residual paths (arXiv:1906.04721 and
            arXiv:2211.10438).
        rounding: how weights are rounded: `nearest` to the nearest number, `gptq` one after the other, so that each
            takes back the errors of those before (arXiv:2210.17323), and `adaround` learns for every weight of a
            convolution whether it is rounded up or down (arXiv:2004.10568), which takes minutes.
        bias_correction: correct the biases by the mean error of every channel (arXiv:1906.04721).
        between: also quantize the operators between quantized ones, such as sums along a residual path, so that maps
            stay in 8 bits. Without, the network is a little closer to the float one, and often slower than it.
        avoid_saturation: choose the scales of weights so that no sum of products saturates on CPUs without VNNI.
            Weights are a little finer without it, which suits CPUs with VNNI and boards.
        least_agreement: least share of answers on held-out pictures, from 0 to 1, that float32 and int8 have in common.
            If they have less in common, nothing is added to the bundle.
        accepted_drop: with labels, also add nothing if the task's main metric on these pictures falls by more
            percentage points than this. If `max_drop` is larger, it counts instead. The loss of a single picture is
            always accepted.
        max_drop: largest drop on the evaluation data, percentage points of the task's main metric, or of equal answers
            without labels. The fewest nodes are raised until the drop is below it. None raises none.
        raise_to: what the nodes are raised to: `float32`, which is faster on CPUs, or `int16`, for boards.
        seconds: how long float32 and int8 are timed in turns in every engine, each of them, with one thread; 0 leaves
            it out. 3 seconds give some dozens of rounds for a network of 30 ms.
        keep_if_faster: add an int8 artefact only if it is clearly faster than float32 in one of its engines.
        seed: chooses the calibration pictures, and what GPTQ and AdaRound see of them.

    Raises:
        InputError: if a value is not accepted.
    """

    samples: int = 300
    engines: tuple[str, ...] = ("onnxruntime",)
    calibrator: Calibrator = "percentile"
    percentile: float = 99.99
    equalize: bool = True
    rounding: Rounding = "gptq"
    bias_correction: bool = True
    between: bool = True
    avoid_saturation: bool = True
    least_agreement: float = 0.8
    accepted_drop: float = 3.0
    max_drop: float | None = None
    raise_to: RaisedTo = "float32"
    seconds: float = 3.0
    keep_if_faster: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples={self.samples}: must be 1 or more")
        for name, words in (("calibrator", Calibrator), ("rounding", Rounding), ("raise_to", RaisedTo)):
            if getattr(self, name) not in get_args(words):
                raise InputError(f"{name}={getattr(self, name)!r}: choose from {', '.join(get_args(words))}")
        if not _LOWEST_PERCENTILE <= self.percentile <= 100:
            raise InputError(f"percentile={self.percentile}: must be from {_LOWEST_PERCENTILE:g} to 100")
        if not 0 <= self.least_agreement <= 1:
            raise InputError(f"least_agreement={self.least_agreement}: must be from 0 to 1")
        if self.accepted_drop < 0:
            raise InputError(f"accepted_drop={self.accepted_drop}: must be 0 points or more")
        if self.max_drop is not None and self.max_drop < 0:
            raise InputError(f"max_drop={self.max_drop}: must be 0 points or more")
        if self.seconds < 0 or (self.keep_if_faster and not self.seconds):
            raise InputError(f"seconds={self.seconds:g}: must be 0 or more, and above 0 with keep_if_faster")
        if not self.engines or len(set(self.engines)) != len(self.engines):
            raise InputError(f"engines={','.join(self.engines)}: name one or more, each once")

    @property
    def method(self) -> str:
        """The calibrator in words, for contracts and tables."""
        return f"percentile {self.percentile:g}" if self.calibrator == "percentile" else self.calibrator

    @property
    def options(self) -> dict[str, object]:
        """What an artefact says about how it was quantized: all that its numbers follow from, beside the pictures."""
        raising = {} if self.max_drop is None else {"max_drop": self.max_drop, "raise_to": self.raise_to}
        return {
            "calibrator": self.method,
            **{name: getattr(self, name) for name in _DECIDING},
            **raising,
            "seed": self.seed,
        }
