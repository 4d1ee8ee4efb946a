"""Peak memory and load time of a network on an engine, measured in a new process: `python -m parckit.measure.memory`.

That process does not load torch, unless the engine needs it. Memory that torch has used and freed would hide the memory
of a small model.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import cast

from parckit.contract import Artefact, NetworkSpec, ParckitError, from_plain, shorten_message, to_plain
from parckit.measure.candidates import Candidate
from parckit.measure.latency import one_batch
from parckit.runtimes import find_engine, load_engine

_BYTES_PER_KIB = 1024
_MARK = "parckit loading: "
"""What the new process prints before the numbers."""
_LONGEST_SECONDS = 600
"""A process that runs longer is stopped. Our largest networks take seconds; some engines can hang."""
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """What loading a network and one inference cost in a new process.

    Attributes:
        peak_bytes: the peak resident memory that they add to the process; None where the system does not tell it.
        load_seconds: time until the network is ready. The engine's libraries are loaded before.
        first_seconds: time of the first inference.
    """

    peak_bytes: int | None
    load_seconds: float
    first_seconds: float


class EngineCrashError(ParckitError):
    """An engine's own code ended the process that ran it, or did not come back."""


def peak_memory(folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str) -> int:
    """Return the peak resident memory that loading an artefact and one inference add to a process, in bytes.

    Args:
        folder: the bundle with the artefact's files.
        artefact: which one.
        spec: describes the network.
        engine: name of the engine.

    Raises:
        EngineCrashError: if the engine crashes or hangs.
        ParckitError: if the artefact cannot be loaded or run, or this system does not tell the memory.
    """
    peak = _load_artefact(folder, artefact, spec, engine=engine).peak_bytes
    if peak is None:
        raise ParckitError(f"{folder / artefact.main_file}: this system does not tell the peak memory")
    return peak


def loading(candidate: Candidate) -> Loading:
    """Measure what loading a candidate and one inference cost, with one thread.

    Raises:
        ParckitError: if it cannot be loaded or run.
    """
    engine, artefact, contract = candidate.engine.name, candidate.artefact, candidate.contract
    if artefact is None or contract is None:
        # Shipped weights have a name instead of a path.
        path = candidate.path.resolve() if candidate.path.exists() else candidate.path
        return _measure(path, {"path": str(path), "engine": engine})
    spec = contract.spec_of(artefact)
    return _load_artefact(candidate.path, artefact, spec, engine=engine)


def _load_artefact(folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str) -> Loading:
    wanted = {"artefact": to_plain(artefact), "spec": spec.to_dict()}
    return _measure(folder / artefact.main_file, {"path": str(folder.resolve()), "engine": engine, **wanted})


def _measure(file: Path, wanted: Mapping[str, object]) -> Loading:
    # python -m looks for modules in the working folder first, so the process runs in a folder without modules.
    file = file.resolve()
    command = (sys.executable, "-m", __name__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    engine = wanted["engine"]
    try:
        # S603: the command contains only our own strings.
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            cwd=file.parent if file.parent.is_dir() else None,
            timeout=_LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineCrashError(f"{engine} did not load and run {file} within {_LONGEST_SECONDS:g} seconds") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineCrashError(f"{engine} crashed ({name}) when it loaded or ran {file}")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParckitError(f"{engine} failed when it loaded or ran {file}: {shorten_message(reason)}")
    # Some engines print lines of their own.
    return from_plain(Loading, json.loads(done.stdout.partition(_MARK)[2].partition("\n")[0]), name="loading")


def _probe(wanted: Mapping[str, object]) -> Loading:
    path, engine = Path(cast("str", wanted["path"])), find_engine(cast("str", wanted["engine"]))
    module = load_engine(engine, what=str(path))
    before, start = peak_resident() if can_measure_memory() else None, perf_counter()
    if "artefact" in wanted:
        artefact = from_plain(Artefact, wanted["artefact"], name="artefact")
        session = module.open_artefact(path, artefact, NetworkSpec.from_dict(wanted["spec"]), threads=1)
    else:
        session = module.open_file(path, threads=1)
    loaded = perf_counter()
    session(one_batch(session))
    end = perf_counter()
    peak = None if before is None else peak_resident() - before
    return Loading(peak_bytes=peak, load_seconds=loaded - start, first_seconds=end - loaded)


def can_measure_memory() -> bool:
    """Return whether this system tells how much memory a process has had; Windows does not."""
    return _STATUS.is_file() or find_spec("resource") is not None


def peak_resident() -> int:
    """Return the largest resident memory that this process has had so far, in bytes."""
    if _STATUS.is_file():
        # On Linux, ru_maxrss of a new process starts at its parent's peak. VmHWM starts anew.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
        if peak:
            return int(peak[1]) * _BYTES_PER_KIB
    import resource  # noqa: PLC0415  # absent from Windows

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == "darwin" else peak_rss * _BYTES_PER_KIB


def _main() -> None:
    """Print what loading costs; or end with the error in one line."""
    try:
        cost = _probe(json.load(sys.stdin))
    except Exception as error:  # engines raise errors of many classes
        kind = "" if isinstance(error, ParckitError) else f"{type(error).__name__}: "
        raise SystemExit(kind + " ".join(str(error).split())) from None
    sys.stdout.write(f"\n{_MARK}{json.dumps(to_plain(cost))}\n")


if __name__ == "__main__":
    _main()
