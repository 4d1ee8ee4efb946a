"""Values of options that are not just a number or a word."""

import re
from pathlib import Path

from jsonargparse.typing import restricted_number_type

from parckit.contract import CONTRACT_FILE, InputError, check_target, find_obstacle

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)], docstring="a seed that numpy accepts")

Threads = restricted_number_type("Threads", int, [(">=", 1), ("<=", 1024)], docstring="what engines accept")
ClassCount = restricted_number_type("ClassCount", int, [(">=", 1), ("<=", 10**6)], docstring="classes of a network")


def parse_size(text: str, *, option: str = "--size") -> tuple[int, int]:
    """Turn `256x192` or `256` into (height, width), pixels.

    Args:
        text: the value of the option.
        option: what an error calls it.

    Raises:
        InputError: for any other text.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise InputError(f"{option} {text}: must be HEIGHTxWIDTH in pixels, or one number for a square")
    numbers = [int(part) for part in text.split("x")]
    return numbers[0], numbers[-1]


def parse_counts(text: str, *, option: str = "--threads") -> tuple[int, ...]:
    """Turn `1,2,4` into numbers.

    Args:
        text: the value of the option.
        option: what an error calls it.

    Raises:
        InputError: for any other text.
    """
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise InputError(f"{option} {text}: must be positive numbers separated by commas, e.g. 1,2,4")
    return tuple(int(part) for part in text.split(","))


def parse_names(text: str) -> tuple[str, ...]:
    """Turn `fp32,fp16` into names; the empty text has none."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def beside(artefact: Path, ending: str) -> Path:
    """Return the path of a file about a checkpoint or bundle, in its folder: `run/best.ckpt` -> `run/best` + ending.

    A file of a bundle stands for its bundle, because an export that replaces the bundle would delete the new file.
    """
    whole = artefact.resolve()
    whole = next((folder for folder in whole.parents if (folder / CONTRACT_FILE).is_file()), whole)
    return whole.with_name((whole.name if whole.is_dir() else whole.stem) + ending)


def place_beside(artefact: Path, ending: str, *, wanted: Path | None, option: str) -> tuple[Path, str | None]:
    """Return the path of a result: where the user wants it, or `beside` the model.

    Nobody asked for a file beside the model. So, if it cannot be written, it may be left out.

    Args:
        artefact: the checkpoint or bundle.
        ending: end of the file's name beside the model.
        wanted: the value of the option; None if it is not given.
        option: name of the option.

    Returns:
        The path, and why it cannot be written if nobody asked for it; None if it can.

    Raises:
        InputError: if the path that the user wants cannot be written.
    """
    if wanted is None:
        path = beside(artefact, ending)
        return path, find_obstacle(path)
    check_target(wanted, option=option)
    return wanted, None
