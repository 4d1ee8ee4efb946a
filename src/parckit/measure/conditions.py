"""What else the machine did during a measurement, and how its clock was set. Only Linux tells."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup/cpu.stat")
_IDLE = (3, 4)
"""Columns of `/proc/stat` with the time in which a core had nothing to do: idle, and waiting for a disk."""
_STEAL = 7
"""Column with the time in which a core of a virtual machine had work, but the host gave it to another machine."""
_COUNTED = 8
"""Columns that add up to the whole time. The two after them, for guests, are part of the first two."""
_MICROSECONDS = 1e6

BUSY_SHARE = 0.05
"""Neighbours that use more than this share of our cores are worth a warning: they slow some rounds down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What else the machine did. A value is None where the system does not tell it.

    Attributes:
        governor: how the clock frequency is chosen, such as `performance`; several are separated by commas.
        load_before: processes that wanted to run, average of the minute before the measurement.
        load_after: the same at its end; it contains the measurement itself.
        others_share: share of the time of the cores that this process may use, which other processes used, 0 to 1.
        steal_share: share of the same time that the host of a virtual machine took away, 0 to 1.
        throttled_seconds: time for which the system stopped this container, because it had used up its share of the
            CPU.
        seconds: how long the measurement took.
    """

    governor: str | None = None
    load_before: float | None = None
    load_after: float | None = None
    others_share: float | None = None
    steal_share: float | None = None
    throttled_seconds: float | None = None
    seconds: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether neighbours took so much that the numbers are worth less."""
        return (self.others_share or 0) + (self.steal_share or 0) > BUSY_SHARE or bool(self.throttled_seconds)

    def describe(self) -> str:
        """Return the conditions in words."""
        shares = {"other processes": self.others_share, "stolen by the host": self.steal_share}
        parts = [f"governor {self.governor or 'unknown'}"]
        if self.load_before is not None and self.load_after is not None:
            parts.append(f"load {self.load_before:.2f} before, {self.load_after:.2f} after")
        parts += [f"{name} {share:.1%} of our cores" for name, share in shares.items() if share is not None]
        if self.throttled_seconds:
            parts.append(f"stopped by the system for {self.throttled_seconds:.1f} s")
        return ", ".join(parts)


class Watch:
    """Notes what the machine does between the start and the end of a measurement; see `watch`.

    Attributes:
        conditions: what it did; complete after the end.
    """

    def __init__(self) -> None:
        self.conditions = Conditions()


@contextmanager
def watch() -> Generator[Watch]:
    """Watch the machine while the body measures. The yielded `Watch` has the conditions after the body."""
    result = Watch()
    start, before, used_before, throttled_before = time.monotonic(), _cores(), _used(), _throttled()
    load_before = _load()
    yield result
    others, steal = _shares(before, _cores(), used=_used() - used_before)
    throttled = _throttled()
    result.conditions = Conditions(
        governor=_governor(),
        load_before=load_before,
        load_after=_load(),
        others_share=others,
        steal_share=steal,
        throttled_seconds=None if throttled is None or throttled_before is None else throttled - throttled_before,
        seconds=time.monotonic() - start,
    )


def _shares(before: list[float] | None, after: list[float] | None, *, used: float) -> tuple[float | None, float | None]:
    """Return the shares of the cores' time that other processes used and that the host took."""
    if before is None or after is None:
        return None, None
    spent = [late - early for early, late in zip(before, after, strict=True)]
    total = sum(spent)
    if total <= 0:
        return None, None
    busy = total - sum(spent[column] for column in _IDLE) - spent[_STEAL]
    # The kernel counts in ticks of 10 ms, so the difference can be a little below 0.
    return max(0.0, busy - used) / total, max(0.0, spent[_STEAL]) / total


def _cores() -> list[float] | None:
    """Return the time of the cores that this process may use, together by kind, seconds.

    On a machine with many cores, a neighbour on one of ours would vanish in the sum over all.
    """
    path = _PROC / "stat"
    if not path.is_file():
        return None
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    cores = [[int(ticks) for ticks in line[1 : 1 + _COUNTED]] for line in lines if line and line[0] in ours]
    if not cores or any(len(core) != _COUNTED for core in cores):
        return None
    per_second = os.sysconf("SC_CLK_TCK")
    return [sum(kind) / per_second for kind in zip(*cores, strict=True)]


def _used() -> float:
    """Return the time that this process and the processes that it started have used, seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _throttled() -> float | None:
    if not _CGROUP.is_file():
        return None
    counts = dict(line.split() for line in _CGROUP.read_text(encoding="ascii").splitlines())
    return int(counts["throttled_usec"]) / _MICROSECONDS if "throttled_usec" in counts else None


def _governor() -> str | None:
    files = sorted(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return ", ".join(dict.fromkeys(file.read_text(encoding="ascii").strip() for file in files)) or None
