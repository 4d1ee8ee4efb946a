"""Where a network's time goes, layer by layer, and how much of the machine's arithmetic every layer uses.

The ceiling is the best that the same engine reaches with the same threads in a large float32 matrix product. No float32
layer can be faster. Neighbours take the core away from a long run, but rarely from a short one. So layers are measured
by their medians, and the whole run and the ceiling by the fastest of many runs: otherwise layers would seem to exceed
the ceiling on a busy machine.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Protocol, cast

from parckit.contract import InputError
from parckit.measure.candidates import Candidate
from parckit.measure.interleaved import interleave

PROFILERS = {
    "onnxruntime": "parckit.measure.profile_onnxruntime",
    "openvino": "parckit.measure.profile_openvino",
    "torch": "parckit.measure.profile_torch",
}
"""Engine whose layers can be timed -> the module that does it; imported only when it is used."""

CEILING_SIDE = 512
"""Rows and columns of the matrices of the ceiling: large enough for the full speed. A product takes some milliseconds,
so that one of many is not interrupted by neighbours; with 1024, on a busy machine, all of them were."""
_PRODUCTS = 5
"""Products in a turn."""
_MS_PER_S = 1e3
_GIGA = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A node of the graph that runs.

    Attributes:
        name: name of the node, as the engine calls it.
        kind: its operator; of a convolution also its kernel, see `convolution_kind`.
        milliseconds: median time of one run.
        madds: multiply-adds of one run; None for what is neither a convolution nor a matrix product.
        output: shape of its first output.
    """

    name: str
    kind: str
    milliseconds: float
    madds: int | None
    output: tuple[int, ...]


def convolution_kind(operator: str, taps: Sequence[int], *, channels: int) -> str:
    """Return an operator with the kernel of the convolution, because the kernel decides what the processor does.

    Pointwise convolutions are matrix products; depthwise ones and those along an axis do little with what they read.

    Args:
        operator: name of the operator in the engine.
        taps: shape of the weight behind the output channels: input channels of a group, then the kernel.
        channels: input channels of all groups.
    """
    inputs, *kernel = taps
    if math.prod(kernel) == 1:
        return f"{operator}, pointwise"
    if inputs == channels or inputs > 1:
        return f"{operator}, full"
    return f"{operator}, along an axis" if 1 in kernel else f"{operator}, depthwise"


def product_madds(first: Sequence[int], output: Sequence[int]) -> int | None:
    """Return the multiply-adds of a product (M, K) x (K, N), from the shapes of its first factor and its output.

    The engine may have transposed the first factor; M is known from the output. None if one of the two is a vector.
    """
    if min(len(first), len(output)) < 2:
        return None
    return math.prod(output) * (first[-1] if first[-2] == output[-2] else first[-2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """All layers of one operator.

    Attributes:
        kind: the operator.
        layers: number of layers.
        milliseconds: sum of their times.
        madds: sum of their multiply-adds; None if none has a number.
    """

    kind: str
    layers: int
    milliseconds: float
    madds: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Where the time of one run goes.

    Attributes:
        layers: the nodes, in the order in which they run.
        run_ms: time of the fastest run without the profiler, milliseconds. The sum of the layers is larger by what the
            profiler costs, and smaller by what happens between layers.
        threads: threads of one run.
        ceiling_gflops: the ceiling: speed of the fastest of many large products.
    """

    layers: tuple[Layer, ...]
    run_ms: float
    threads: int
    ceiling_gflops: float

    @property
    def layers_ms(self) -> float:
        """Sum of the times of all layers, milliseconds."""
        return sum(layer.milliseconds for layer in self.layers)

    @property
    def madds(self) -> int:
        """Multiply-adds of all convolutions and matrix products that run."""
        return sum(layer.madds or 0 for layer in self.layers)

    def share_of_ceiling(self, madds: int | None, milliseconds: float) -> float | None:
        """Return which share of the ceiling this many multiply-adds in this time reach, 0 to 1; None without them."""
        if not madds or not milliseconds:
            return None
        return 2 * madds / (milliseconds / _MS_PER_S) / _GIGA / self.ceiling_gflops

    def kinds(self) -> tuple[Kind, ...]:
        """Return the operators, the one that takes the most time first."""
        groups: dict[str, list[Layer]] = defaultdict(list)
        for layer in self.layers:
            groups[layer.kind].append(layer)
        kinds = [
            Kind(
                kind=kind,
                layers=len(layers),
                milliseconds=sum(layer.milliseconds for layer in layers),
                madds=sum(layer.madds or 0 for layer in layers) or None,
            )
            for kind, layers in groups.items()
        ]
        return tuple(sorted(kinds, key=lambda kind: -kind.milliseconds))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfiledRuns:
    """What runs in turns.

    Attributes:
        profiled: runs the network and notes the time of every layer.
        plain: runs the network without that.
        ceiling: multiplies two matrices of `CEILING_SIDE` rows and columns.
        read_layers: returns the layers after the last run.
    """

    profiled: Callable[[], object]
    plain: Callable[[], object]
    ceiling: Callable[[], object]
    read_layers: Callable[[], tuple[Layer, ...]]


class Profiler(Protocol):
    """What the module of a profiler offers."""

    def prepare(self, candidate: Candidate, *, threads: int, folder: Path) -> ProfiledRuns:
        """Open a candidate for a profile; files may be written to `folder`."""
        ...


def profile(candidate: Candidate, *, threads: int, seconds: float, seed: int = 0) -> Profile:
    """Measure where the time of a candidate goes.

    The profiled network, the network without the profiler and the ceiling run in turns, so that noise meets all three.

    Args:
        candidate: the candidate.
        threads: threads of one run.
        seconds: how long it is measured, about.
        seed: of the order in every round.

    Raises:
        InputError: if no profiler knows its engine.
        MissingExtraError: if a package of the profiler is not installed.
    """
    if candidate.engine.name not in PROFILERS:
        raise InputError(f"{candidate.name}: only candidates on {' or '.join(PROFILERS)} have a profile by layer")
    profiler = cast("Profiler", import_module(PROFILERS[candidate.engine.name]))
    with tempfile.TemporaryDirectory() as name:
        runs = profiler.prepare(candidate, threads=threads, folder=Path(name))
        products: list[float] = []

        def multiply() -> None:
            for _ in range(_PRODUCTS):
                start = perf_counter()
                runs.ceiling()
                products.append(perf_counter() - start)

        turns = {"profiled": runs.profiled, "plain": runs.plain, "ceiling": multiply}
        times = interleave(turns, seconds=seconds, seed=seed)
        layers = runs.read_layers()
    return Profile(
        layers=layers,
        run_ms=min(times["plain"]) * _MS_PER_S,
        threads=threads,
        ceiling_gflops=2 * CEILING_SIDE**3 / min(products) / _GIGA,
    )


def profile_values(result: Profile, candidate: Candidate, sha256: str) -> dict[str, object]:
    """Return what a record says of a profile; `parckit report` reads it.

    Args:
        result: the profile.
        candidate: what was profiled.
        sha256: digest of its files at that time.
    """
    artefact = candidate.path.name if candidate.artefact is None else candidate.artefact.name
    facts = {"model": str(candidate.path), "artefact": artefact, "engine": candidate.engine.name, "sha256": sha256}
    return {"candidate": candidate.name, **facts, **asdict(result)}
