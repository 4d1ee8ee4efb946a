"""Times that a board's own tool measured: what `hrt_model_exec perf` of D-Robotics' boards prints.

The layout is that of ptq_process.md of github.com/D-Robotics/rdk_doc, and of logs of RDK X5 that others published.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from parckit.contract import CONTRACT_FILE, FLOAT_ONNX, InputError, read_contract

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_BLOCK = re.compile(r"^\s*Running condition:\s*$", re.MULTILINE)
"""Every measurement ends with such a block. A log may have several."""
_PROGRESS = re.compile(rf"thread max latency:\s*{_NUMBER} ms,\s*thread min latency:\s*{_NUMBER} ms")
"""Lines before the block: what was measured up to then."""
_WANTED = {
    "threads": rf"Thread\s+number\s+is:\s*{_NUMBER}",
    "frames": rf"Frame\s+count\s+is:\s*{_NUMBER}",
    "mean_ms": rf"Average\s+latency\s+is:\s*{_NUMBER}\s*ms",
    "images_per_second": rf"Frame\s+rate\s+is:\s*{_NUMBER}\s*FPS",
}
"""Number that is read -> how its line looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardTiming:
    """Latency and throughput on a board.

    Attributes:
        threads: threads that give pictures to the board at the same time.
        frames: number of pictures of all threads together.
        mean_ms: mean time of a picture, milliseconds. With several threads, a picture waits for those of the others.
        min_ms: the shortest one; None if the log does not say it.
        max_ms: the longest one; None if the log does not say it.
        images_per_second: pictures of all threads together.
    """

    threads: int
    frames: int
    mean_ms: float
    min_ms: float | None = None
    max_ms: float | None = None
    images_per_second: float


def read_board_log(path: Path) -> tuple[BoardTiming, ...]:
    """Return the measurements in a log, in their order.

    Raises:
        InputError: if the file is missing, or has no whole measurement.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    parts = _BLOCK.split(text)
    if len(parts) == 1:
        raise InputError(f"{path}: has no 'Running condition:'; is it what `hrt_model_exec perf` printed to its end?")
    return tuple(_timing(before, block, path=path) for before, block in pairwise(parts))


def read_board_logs(paths: Sequence[Path]) -> tuple[BoardTiming, ...]:
    """Return the measurements in several logs, fewest threads first.

    Raises:
        InputError: if a log cannot be read, or two measurements have the same number of threads.
    """
    timings = [timing for path in paths for timing in read_board_log(path)]
    counts = [timing.threads for timing in timings]
    if repeated := sorted({count for count in counts if counts.count(count) > 1}):
        raise InputError(f"board_log: {repeated[0]} threads were measured twice; name one log of them")
    return tuple(sorted(timings, key=lambda timing: timing.threads))


def board_values(timings: Sequence[BoardTiming], *, model: Path, board: str) -> dict[str, object]:
    """Return what a record says of a board's times; `parckit report` reads it.

    Args:
        timings: one for each number of threads.
        model: the bundle that was measured.
        board: its name, as the user gives it.
    """
    values: dict[str, object] = {"model": str(model), "board": board}
    if (model / CONTRACT_FILE).is_file():
        # The board's compiler gets the float32 ONNX file. What it made of it may not be in the bundle.
        artefacts = {artefact.name: artefact for artefact in read_contract(model, check_files=False).artefacts}
        compiled = artefacts.get(FLOAT_ONNX, next(iter(artefacts.values())))
        values |= {"artefact": compiled.name, "sha256": compiled.sha256}
    return {**values, "board_timings": [asdict(timing) for timing in timings]}


def _timing(before: str, block: str, *, path: Path) -> BoardTiming:
    """Return the measurement of a block; `before` is the text between it and the block above it."""
    numbers: dict[str, float] = {}
    for name, pattern in _WANTED.items():
        if (match := re.search(pattern, block)) is None:
            raise InputError(f"{path}: a measurement has no line that fits {pattern!r}")
        numbers[name] = float(match[1])
    progress = _PROGRESS.findall(before)
    longest, shortest = map(float, progress[-1]) if progress else (None, None)
    return BoardTiming(
        threads=int(numbers["threads"]),
        frames=int(numbers["frames"]),
        mean_ms=numbers["mean_ms"],
        min_ms=shortest,
        max_ms=longest,
        images_per_second=numbers["images_per_second"],
    )
