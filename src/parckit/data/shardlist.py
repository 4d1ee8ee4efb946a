"""The format of shards: which files make a split, what a sample holds, what its label means.

A shard is a tar file of samples; a sample is the consecutive files that share a key (the name up to its first dot), one
of them an image, one with the ending `cls`: the class index in decimal digits. Files of other endings are left alone.

A shard belongs to the split its file name begins with: `train-`, `val-` or `test-`. Where no name begins so, all are
`train`. Missing splits follow `parckit.data.splits`; what is held out of `train` is its last shard.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from braceexpand import braceexpand

from parckit.contract import InputError
from parckit.data.splits import NAMED, Named, Split, resolve_split
from parckit.processing import IMAGE_EXTENSIONS

SHARD_EXTENSIONS = (".tar", ".tar.gz", ".tgz")
CLASSES_FILE = "classes.txt"
"""Beside the shards: one class name per line, in the order of the indices."""

Content = TypeVar("Content")


def expand_braces(pattern: str) -> list[str]:
    """Expand braces as a shell does: `a-{00..02}.tar` to three names.

    Raises:
        InputError: if a brace is left open.
    """
    try:
        return list(braceexpand(pattern, escape=False))
    except ValueError as error:
        raise InputError(f"{pattern}: a brace is not closed") from error


def choose_shards(shards: Sequence[str], *, split: Split, source: str) -> tuple[list[str], str]:
    """Choose a split's shards among a source's paths, and tell what of the source serves as the split.

    Raises:
        InputError: if a name tells no split while others do, or the split would be empty.
    """
    groups: dict[Named | None, list[str]] = {}
    for shard in shards:
        groups.setdefault(_split_of(shard), []).append(shard)
    if split == "all":
        return list(shards), split
    unnamed = groups.pop(None, [])
    if unnamed and groups:
        raise InputError(f"{unnamed[0]}: begins with none of train-, val-, test-, though other shards of {source} do")
    present: dict[Named, list[str]] = {name: groups[name] for name in NAMED if name in groups} or {"train": unnamed}
    served = resolve_split(split, present=present, source=source)
    chosen = present[served.name]
    if served.part == "whole":
        return chosen, str(served)
    if len(chosen) == 1:
        raise InputError(
            f"{chosen[0]}: the only train shard cannot also be held out; add a val shard, or use split 'all'"
        )
    return chosen[:-1] if served.part == "kept" else chosen[-1:], str(served)


def _split_of(shard: str) -> Named | None:
    name = Path(shard).name
    return next((split for split in NAMED if name.startswith(f"{split}-")), None)


def parse_labels(text: str, *, name: str) -> tuple[str, ...]:
    """Read the class names in a classes file called `name`.

    Raises:
        InputError: if there is none, or one stands twice.
    """
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise InputError(f"{name}: is empty; accepted is one class name a line")
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"{name}: class {repeated[0]!r} stands twice")
    return labels


def parse_target(data: bytes, *, labels: Sequence[str] | None, name: str) -> int:
    """Read the class index in a `cls` file of the sample called `name`.

    Raises:
        InputError: if it is no number or, where the labels are known, names no class.
    """
    text = data.decode("ascii", errors="replace").strip()
    if not text.isdecimal() or (labels is not None and int(text) >= len(labels)):
        accepted = "a class index" if labels is None else f"a class index in 0..{len(labels) - 1}"
        raise InputError(f"{name}.cls: {text[:20]!r} is not {accepted}")
    return int(text)


def image_and_label(files: Mapping[str, Content], *, name: str) -> tuple[Content, Content] | None:
    """Pick a sample's image and label among its files, given by lower-case ending without dot.

    Returns:
        None if the sample has neither.

    Raises:
        InputError: if it has one but not the other.
    """
    images = [content for ending, content in files.items() if f".{ending}" in IMAGE_EXTENSIONS]
    if not images and "cls" not in files:
        return None
    if not images:
        raise InputError(f"{name}: sample without image; accepted endings are {', '.join(IMAGE_EXTENSIONS)}")
    if "cls" not in files:
        raise InputError(f"{name}: sample without label, a file {name.rpartition(':')[2]}.cls")
    return images[0], files["cls"]
