"""Time float and int8 artefacts side by side, so that nobody gets a slower network without knowing it.

Not every network is faster in int8, and the same network may be faster in one engine and slower in another. Only a
measurement on the processor tells. One image and one thread, in turns, as `parckit.measure.interleaved` says.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from parckit.contract import Artefact, Check, Contract
from parckit.measure.interleaved import Ratio, compare_times, interleave
from parckit.measure.latency import one_batch
from parckit.report.checks import describe_check
from parckit.runtimes import Session, find_engine, open_artefact

_MS = 1e3
_log = logging.getLogger(__name__)


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
    def figures(self) -> dict[str, float]:
        """The numbers for a check in the contract."""
        times = {"float_ms": self.float_ms, "int8_ms": self.int8_ms}
        return {**times, "speedup": self.ratio.speedup, "speedup_low": self.ratio.low, "speedup_high": self.ratio.high}


def compare_speed(baseline: Session, candidate: Session, *, seconds: float) -> Speedup:
    """Run a float and an int8 session in turns.

    Args:
        baseline: the float network, with the number of threads that counts.
        candidate: the int8 network in the same engine, with as many threads.
        seconds: how long each of them runs, about.
    """
    runs = {name: _run_of(session) for name, session in (("float", baseline), ("int8", candidate))}
    times = interleave(runs, seconds=2 * seconds)
    return _speedup(candidate, times["float"], times["int8"])


def against_float(
    artefact: Artefact, contract: Contract, *, bundle: Path, folder: Path, engine: str, seconds: float
) -> Speedup | None:
    """Time an int8 artefact beside a bundle's float32 artefact in the same engine, with one thread.

    Args:
        artefact: the int8 artefact; its files are in `folder`.
        contract: of the bundle.
        bundle: folder of the bundle.
        folder: folder of the artefact's files.
        engine: name of the engine, which can run here.
        seconds: how long each of the two runs, about.

    Returns:
        None if the bundle has no float32 artefact for the engine.
    """
    plain = _float_artefact(engine, contract)
    if plain is None:
        return None
    sessions = [
        open_artefact(place, one, contract.spec_of(one), engine=engine, threads=1)
        for place, one in ((bundle, plain), (folder, artefact))
    ]
    return compare_speed(*sessions, seconds=seconds)


def why_untimed(engine: str, contract: Contract) -> str | None:
    """Return why int8 cannot be timed beside float32 in an engine; None if it can."""
    if (obstacle := find_engine(engine).obstacle) is not None:
        return obstacle
    if _float_artefact(engine, contract) is None:
        return f"the bundle has no float32 artefact for {engine}"
    return None


def _float_artefact(engine: str, contract: Contract) -> Artefact | None:
    """Return the float32 artefact that an engine runs; None without any."""
    return next(
        (
            artefact
            for artefact in contract.artefacts
            if artefact.precision == "fp32" and find_engine(engine).opens(artefact) and not artefact.decodes_inside
        ),
        None,
    )


def timed(check: Check, artefact: Artefact, contract: Contract, *, bundle: Path, folder: Path, seconds: float) -> Check:
    """Return a check with the times of float32 and int8 in its engine among its figures, and tell which is faster.

    Args:
        check: of the int8 artefact. It stays as it is if its engine cannot run here.
        artefact: the int8 artefact; its files are in `folder`.
        contract: of the bundle.
        bundle: folder of the bundle.
        folder: folder of the artefact's files.
        seconds: how long each of the two runs, about; with 0 the check stays as it is.
    """
    if not seconds or find_engine(check.engine).obstacle is not None:
        return check
    places = {"bundle": bundle, "folder": folder}
    speedup = against_float(artefact, contract, **places, engine=check.engine, seconds=seconds)
    if speedup is None:
        _log.info("%s: the bundle has no float32 artefact for %s to time beside it", artefact.name, check.engine)
        return check
    check = replace(check, figures={**check.figures, **speedup.figures})
    told = describe_check(check, artefact).speed
    level = logging.WARNING if speedup.ratio.high < 1 else logging.INFO
    _log.log(level, "%s on %s: %s", artefact.name, check.engine, told)
    return check


def is_faster(artefact: Artefact) -> bool:
    """Return whether an int8 artefact was clearly faster than float32 in one of the engines that checked it."""
    return any(check.figures.get("speedup_low", 0.0) > 1 for check in artefact.checks)


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
