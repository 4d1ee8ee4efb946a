"""The accuracy-aware mix: raise the fewest nodes to more bits until the measured drop is small enough."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from parckit.contract import InputError
from parckit.deploy.quantize.checking import AccuracyError
from parckit.deploy.quantize.rules import stored_constants
from parckit.deploy.quantize.scheme import Bits, Scheme
from parckit.deploy.quantize.sensitivity import Trial
from parckit.deploy.quantize.source import QuantizationSource
from parckit.deploy.quantize.speedup import compare_speed
from parckit.deploy.quantize.steps import ENGINE
from parckit.deploy.quantize.writers import load_writer
from parckit.deploy.quantize.yardstick import Measure, Yardstick
from parckit.measure.interleaved import Ratio
from parckit.runtimes import Session, open_artefact

Track = Callable[[Iterable[str]], Iterable[str]]
"""Returns the names of nodes that it gets, and may show the progress of the work."""

_log = logging.getLogger(__name__)

_SECONDS = 2.0
"""How long the graph runs with and without a raise, each."""


def refuse_shared_pictures(source: QuantizationSource, evaluated: Iterable[str]) -> None:
    """Refuse evaluation pictures that are calibration pictures.

    Args:
        source: has the calibration pictures.
        evaluated: digests of the evaluation pictures.

    Raises:
        InputError: if there are any.
    """
    shared = set(source.pictures.digests).intersection(evaluated)
    if shared:
        raise InputError(
            f"eval_data: {len(shared)} of its pictures are calibration pictures, so the drop would look too small; "
            "choose other pictures or another split"
        )


def drop_of(measure: Measure, reference: Measure) -> float:
    """Return how much worse a network is than the float one, percentage points.

    With labels it is the difference of the task's main metric; without, the share of answers that differ.

    Raises:
        InputError: if there are neither labels nor answers that count, such as boxes above the threshold.
    """
    if measure.score is not None and reference.score is not None:
        return reference.score - measure.score
    if measure.agreement is None:
        raise InputError("eval_data: has no labels, and the network finds nothing in it; choose other pictures")
    return 100.0 * (1 - measure.agreement)


def rank_nodes(trial: Trial, bits: Mapping[str, Bits], *, track: Track = iter) -> list[str]:
    """Return the quantized nodes; that whose quantization alone makes the largest error comes first."""
    errors = {name: trial.measure({name: bits[name]}).sqnr for name in track(list(bits))}
    return sorted(errors, key=lambda name: errors[name])


def mix(
    source: QuantizationSource,
    yardstick: Yardstick,
    rank: Callable[[], Sequence[str]],
    *,
    most: float,
    raised_to: Bits,
) -> QuantizationSource:
    """Raise the fewest nodes until the drop is small enough.

    The nodes are raised in the order of their errors; a bisection finds how many are needed. Then each of them is
    lowered again if the drop allows it.

    Args:
        source: the network with all nodes in 8 bits.
        yardstick: the evaluation pictures.
        rank: returns the nodes, that with the largest error first. It takes long, and is called only if nodes must be
            raised.
        most: largest drop, percentage points.
        raised_to: bits of raised nodes.

    Returns:
        The network with the raised nodes. The reasons of its scheme say what every raise costs.

    Raises:
        AccuracyError: if not even all nodes together help.
    """
    trial = Trial(source, yardstick)
    drops: dict[frozenset[str], float] = {}

    def lost(scheme: Scheme) -> float:
        return drop_of(trial.measure_scheme(scheme), yardstick.reference)

    def drop(raised: Sequence[str]) -> float:
        key = frozenset(raised)
        if key not in drops:
            drops[key] = lost(raise_nodes(source.scheme, raised, to=raised_to))
        return drops[key]

    before = drop([])
    raised = _fewest_nodes(drop, rank() if before > most else [], most=most)
    scheme, left = raise_nodes(source.scheme, raised, to=raised_to), drop(raised)
    # The weights of nodes that went back to float32 are stored in 8 bits, as those of gates, if the drop allows it.
    smaller = replace(scheme, stored=stored_constants(source.model, scheme.bits))
    if smaller.stored != scheme.stored and (drop_of_smaller := lost(smaller)) <= most:
        scheme, left = smaller, drop_of_smaller
    mixed = replace(source, scheme=scheme)
    effect = f"all nodes in 8 bits lose {before:.2f} points on {yardstick.images} pictures, this mix {left:.2f}"
    reasons = {name: f"{effect}; {_tell_cost(mixed, source.scheme.bits[name], name=name)}" for name in raised}
    _log.info("%d of %d nodes raised: %s", len(raised), len(source.scheme.bits), effect)
    return replace(mixed, scheme=replace(mixed.scheme, reasons={**mixed.scheme.reasons, **reasons}))


def _fewest_nodes(drop: Callable[[Sequence[str]], float], ranked: Sequence[str], *, most: float) -> list[str]:
    """Return the fewest nodes to raise; see `mix`."""
    count = _fewest(lambda number: drop(ranked[:number]) <= most, most=len(ranked))
    if count is None:
        raise AccuracyError(
            f"max_drop={most}: the drop is {drop(ranked):.2f} points even with all {len(ranked)} nodes raised"
        )
    raised = list(ranked[:count])
    for name in reversed(ranked[:count]):
        fewer = [other for other in raised if other != name]
        if drop(fewer) <= most:
            raised = fewer
    return raised


def raise_nodes(scheme: Scheme, names: Sequence[str], *, to: Bits) -> Scheme:
    """Return a scheme in which nodes have other bits."""
    return replace(scheme, bits={name: to if name in names else value for name, value in scheme.bits.items()})


def _fewest(fits: Callable[[int], bool], *, most: int) -> int | None:
    """Return the smallest number from 0 to `most` that fits, if fitting numbers are followed by fitting ones only."""
    if fits(0):
        return 0
    if not fits(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _tell_cost(mixed: QuantizationSource, lowered: Bits, *, name: str) -> str:
    """Return what a raise costs in latency, in words."""
    ratio = _time_raise(mixed, lowered, name=name)
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return f"without this raise the network runs {ratio.speedup:.2f} times as fast ({interval}; {ENGINE}, 1 thread)"


def _time_raise(mixed: QuantizationSource, lowered: Bits, *, name: str) -> Ratio:
    """Time the network with a raised node and without this raise, in turns, one thread."""
    bits = mixed.scheme.bits
    with TemporaryDirectory() as work:
        sessions: list[Session] = []
        for number, value in enumerate((bits[name], lowered)):
            folder = Path(work) / str(number)
            folder.mkdir()
            scheme = replace(mixed.scheme, bits={**bits, name: value})
            artefact = load_writer(ENGINE).write(replace(mixed, scheme=scheme), folder=folder)
            sessions.append(open_artefact(folder, artefact, mixed.spec, engine=ENGINE, threads=1))
        return compare_speed(*sessions, seconds=_SECONDS).ratio
