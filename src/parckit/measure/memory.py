"""Peak memory of an ONNX file, measured in a fresh process: `python -m parckit.measure.memory FILE` is that process.

It loads neither torch nor anything else that would hide a small model's memory.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from parckit.contract import ParckitError
from parckit.runtimes.onnxruntime import load_graph

_BYTES_PER_KIB = 1024


def peak_memory(file: Path) -> int:
    """Return by how much loading a network and one inference raise a process's peak resident memory, bytes.

    ONNX Runtime, one thread. The engine's own libraries are loaded before and not counted.

    Raises:
        ParckitError: if the file cannot be loaded or run.
    """
    # Python's -m looks for modules in the working folder first, so the process starts in a folder without any.
    command = (sys.executable, "-m", __name__, str(file.resolve()))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=file.parent)  # noqa: S603  # ours
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParckitError(f"{file}: one inference in a fresh process failed: {reason}")
    return int(done.stdout)


def _probe(file: Path) -> int:
    before = _peak_resident()
    graph = load_graph(file, threads=1)
    image = graph.get_inputs()[0]
    graph.run(None, {image.name: np.zeros(image.shape, np.float32)})
    return _peak_resident() - before


def _peak_resident() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's ru_maxrss survives exec, so that a child starts with its parent's peak; VmHWM does not.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE)
        if peak:
            return int(peak[1]) * _BYTES_PER_KIB
    import resource  # noqa: PLC0415  # absent from Windows

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == "darwin" else peak_rss * _BYTES_PER_KIB


if __name__ == "__main__":
    sys.stdout.write(str(_probe(Path(sys.argv[1]))))
