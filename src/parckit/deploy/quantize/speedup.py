"""Time float and int8 artefacts side by side, so that nobody gets a slower network without knowing it.

Not every network is faster in int8, and the same network may be faster in one engine and slower in another. Only a
measurement on the processor tells. One image and one thread, in turns, as `parckit.measure.interleaved` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from parckit.contract import Contract, read_contract
from parckit.measure.interleaved import Ratio, compare_times, interleave
from parckit.measure.latency import one_batch
from parckit.runtimes import ENGINES, Session, fitting_artefacts, load_engine

_SECONDS = 3.0
"""How long every artefact runs. It gives some dozens of rounds for a network of 30 ms."""
_MS = 1e3


@dataclass(frozen=True, kw_only=True, slots=True)
class Speedup:
    """What int8 brings in an engine.

    Attributes:
        engine: name and version of the engine.
        artefact: name of the int8 artefact.
        float_ms: median time of the float artefact, milliseconds.
        int8_ms: median time of the int8 artefact.
        ratio: how many times faster int8 is, with its interval.
    """

    engine: str
    artefact: str
    float_ms: float
    int8_ms: float
    ratio: Ratio

    @property
    def is_faster(self) -> bool:
        """Whether int8 is clearly faster: the whole interval lies above 1."""
        return self.ratio.low > 1

    @property
    def verdict(self) -> str:
        """What the interval says: `faster`, `slower`, or `as fast` where it contains 1."""
        return "faster" if self.is_faster else "slower" if self.ratio.high < 1 else "as fast"

    @property
    def figures(self) -> dict[str, float]:
        """The numbers for a check in the contract."""
        times = {"float_ms": self.float_ms, "int8_ms": self.int8_ms}
        return {**times, "speedup": self.ratio.speedup, "speedup_low": self.ratio.low, "speedup_high": self.ratio.high}

    def __str__(self) -> str:
        ratio = self.ratio
        times = f"{self.int8_ms:.2f} ms in int8, {self.float_ms:.2f} ms in float32"
        numbers = f"{ratio.speedup:.2f} times faster (95 %: {ratio.low:.2f} to {ratio.high:.2f})"
        warning = "; int8 is SLOWER here" if self.verdict == "slower" else ""
        return f"{self.artefact} on {self.engine}: {times}, {numbers}{warning}"


def compare_speed(baseline: Session, candidate: Session, *, seconds: float = _SECONDS) -> Speedup:
    """Run a float and an int8 session in turns.

    Args:
        baseline: the float network, with the number of threads that counts.
        candidate: the int8 network in the same engine, with as many threads.
        seconds: how long each of them runs, about.
    """
    runs = {name: _run_of(session) for name, session in (("float", baseline), ("int8", candidate))}
    times = interleave(runs, seconds=2 * seconds)
    return _speedup(candidate, times["float"], times["int8"])


def find_speedups(
    bundle: Path | str, *, engines: Sequence[str] | None = None, threads: int = 1, seconds: float = _SECONDS
) -> tuple[Speedup, ...]:
    """Time every int8 artefact of a bundle beside its float32 artefact, in every engine that opens both.

    All run in turns in one process, so their times compare across engines, too.

    Args:
        bundle: folder of the bundle.
        engines: names of the engines; None takes all that are installed.
        threads: threads of every session.
        seconds: how long each of them runs, about.

    Returns:
        One entry for every int8 artefact and engine, the fastest int8 network first.
    """
    folder = Path(bundle)
    pairs = _pairs(read_contract(folder), folder, engines=engines, threads=threads)
    sessions = {f"{name} {session.artefact}": session for name, *both in pairs for session in both}
    runs = {key: _run_of(session) for key, session in sessions.items()}
    times = interleave(runs, seconds=seconds * len(runs)) if runs else {}
    results = [
        _speedup(int8, times[f"{name} {plain.artefact}"], times[f"{name} {int8.artefact}"])
        for name, plain, int8 in pairs
    ]
    return tuple(sorted(results, key=lambda result: result.int8_ms))


def _pairs(
    contract: Contract, folder: Path, *, engines: Sequence[str] | None, threads: int
) -> list[tuple[str, Session, Session]]:
    """Return engine, float session and int8 session for every int8 artefact."""
    pairs: list[tuple[str, Session, Session]] = []
    for engine in ENGINES:
        wanted = engine.is_installed if engines is None else engine.name in engines
        if not wanted or engine.only_by_name:
            continue
        plain, quantized = (
            [artefact for artefact, _ in fitting_artefacts(contract, engine=engine, precision=precision, name=None)]
            for precision in ("fp32", "int8")
        )
        if not plain or not quantized:
            continue
        module = load_engine(engine, what=str(folder))
        first, *others = (
            module.open_artefact(folder, artefact, contract.spec_of(artefact), threads=threads)
            for artefact in (plain[0], *quantized)
        )
        pairs += [(engine.name, first, other) for other in others]
    return pairs


def _run_of(session: Session) -> "partial[object]":
    return partial(session, one_batch(session))


def _speedup(candidate: Session, baseline_times: Sequence[float], times: Sequence[float]) -> Speedup:
    return Speedup(
        engine=candidate.engine,
        artefact=candidate.artefact,
        float_ms=median(baseline_times) * _MS,
        int8_ms=median(times) * _MS,
        ratio=compare_times(baseline_times, times),
    )
