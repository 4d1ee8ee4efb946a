"""Peak memory of an artefact on an engine, measured in a new process: `python -m parckit.measure.memory`.

That process does not load torch, unless the engine needs it. Memory that torch has used and freed would hide the memory
of a small model.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np

from parckit.contract import Artefact, NetworkSpec, ParckitError, from_plain, to_plain
from parckit.runtimes import find_engine, load_engine

_BYTES_PER_KIB = 1024
_MARK = "parckit peak bytes: "
"""What the new process prints before the number."""


class EngineCrashError(ParckitError):
    """An engine's own code ended the process that ran it."""


def peak_memory(folder: Path, artefact: Artefact, spec: NetworkSpec, *, engine: str) -> int:
    """Return the peak resident memory that loading a network and one inference add to a process, in bytes.

    It is measured with one thread. The engine's libraries are loaded before the measurement, so their memory does not
    count.

    Args:
        folder: the bundle with the artefact's files.
        artefact: which one.
        spec: describes the network.
        engine: name of the engine.

    Raises:
        EngineCrashError: if the engine crashes.
        ParckitError: if the artefact cannot be loaded or run.
    """
    # python -m looks for modules in the working folder first, so the process runs in a folder without modules.
    file = (folder / artefact.main_file).resolve()
    command = (sys.executable, "-m", __name__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    wanted = {"folder": str(folder.resolve()), "artefact": to_plain(artefact), "spec": spec.to_dict(), "engine": engine}
    # S603: the command contains only our own strings.
    done = subprocess.run(  # noqa: S603
        command,
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=file.parent,
    )
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineCrashError(f"{engine} crashed ({name}) when it loaded or ran {artefact.name}")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParckitError(f"{file}: one inference in a fresh process failed: {reason}")
    # Some engines print lines of their own.
    return int(done.stdout.partition(_MARK)[2].split()[0])


def _probe(wanted: dict[str, object]) -> int:
    artefact = from_plain(Artefact, wanted["artefact"], name="artefact")
    spec, folder = NetworkSpec.from_dict(wanted["spec"]), Path(cast("str", wanted["folder"]))
    module = load_engine(find_engine(cast("str", wanted["engine"])), what=str(folder))
    sizes = [size or 1 for size in artefact.input.shape]
    image = np.zeros(sizes, artefact.input.dtype)
    before = peak_resident()
    module.open_artefact(folder, artefact, spec, threads=1)(image)
    return peak_resident() - before


def peak_resident() -> int:
    """Return the largest resident memory that this process has had so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux, ru_maxrss of a new process starts at its parent's peak. VmHWM starts anew.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE)
        if peak:
            return int(peak[1]) * _BYTES_PER_KIB
    import resource  # noqa: PLC0415  # absent from Windows

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == "darwin" else peak_rss * _BYTES_PER_KIB


if __name__ == "__main__":
    sys.stdout.write(f"\n{_MARK}{_probe(json.load(sys.stdin))}\n")
