"""Values of options that are no plain numbers or words."""

import re
from pathlib import Path

from jsonargparse.typing import restricted_number_type

from parckit.contract import InputError

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="what numpy accepts as a seed")

Threads = restricted_number_type("Threads", int, [(">=", 1), ("<=", 1024)], docstring="what engines accept")


def parse_size(text: str) -> tuple[int, int]:
    """Turn `256x192` or `256` into (height, width), pixels.

    Raises:
        InputError: if it is neither.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise InputError(f"--size {text}: must be HEIGHTxWIDTH in pixels, or one number for a square")
    numbers = [int(part) for part in text.split("x")]
    return numbers[0], numbers[-1]


def parse_counts(text: str) -> tuple[int, ...]:
    """Turn `1,2,4` into numbers.

    Raises:
        InputError: if it is anything else.
    """
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise InputError(f"--threads {text}: must be positive numbers with commas between, e.g. 1,2,4")
    return tuple(int(part) for part in text.split(","))


def beside(artefact: Path, ending: str) -> Path:
    """Return the path of a file about a checkpoint or bundle, in the folder that holds it."""
    whole = artefact.resolve()
    return whole.with_name((whole.name if whole.is_dir() else whole.stem) + ending)
