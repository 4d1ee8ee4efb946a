"""Peak memory of an ONNX file, measured in a new process: `python -m parckit.measure.memory FILE`.

That process does not load torch. Memory that torch has used and freed would hide the memory of a small model.
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
    """Return the peak resident memory that loading a network and one inference add to a process, in bytes.

    It is measured with ONNX Runtime and one thread. ONNX Runtime's libraries are loaded before the measurement, so
    their memory does not count.

    Raises:
        ParckitError: if the file cannot be loaded or run.
    """
    # python -m looks for modules in the working folder first, so the process runs in a folder without modules.
    command = (sys.executable, "-m", __name__, str(file.resolve()))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    # S603: the command contains only our own strings.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=file.parent)  # noqa: S603
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParckitError(f"{file}: one inference in a fresh process failed: {reason}")
    return int(done.stdout)


def _probe(file: Path) -> int:
    before = peak_resident()
    graph = load_graph(file, threads=1)
    image = graph.get_inputs()[0]
    sizes = [size if isinstance(size, int) else 1 for size in image.shape]
    graph.run(None, {image.name: np.zeros(sizes, np.uint8 if image.type == "tensor(uint8)" else np.float32)})
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
    sys.stdout.write(str(_probe(Path(sys.argv[1]))))
