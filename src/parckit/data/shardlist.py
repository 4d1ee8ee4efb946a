"""The format of shards: which files belong to a split, which files make a sample, what a label means.

A shard is a tar file of samples. A sample consists of consecutive files with the same key. The key is the file name up
to its first dot. One file is the image. Another one ends with `.cls` and holds the class index in decimal digits. Files
with other endings are ignored.

The file name of a shard begins with its split: `train-`, `val-` or `test-`. If no name begins so, all shards are
`train`. `parckit.data.splits` says what serves as a missing split. If a part of `train` is held out, it is the last
shard.
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
"""A text file in the folder of the shards: one class name per line, in the order of the indices."""

Content = TypeVar("Content")


def expand_braces(pattern: str) -> list[str]:
    """Expand braces as a shell does: `a-{00..02}.tar` becomes three names.

    Raises:
        InputError: if a brace is not closed.
    """
    try:
        return list(braceexpand(pattern, escape=False))
    except ValueError as error:
        raise InputError(f"{pattern}: a brace is not closed") from error


def choose_shards(shards: Sequence[str], *, split: Split, source: str) -> tuple[list[str], str]:
    """Return the paths of the split's shards, and text that says which part of the source serves as the split.

    Raises:
        InputError: if only some of the shards have a split in their names, or the split would be empty.
    """
    groups: dict[Named | None, list[str]] = {}
    for shard in shards:
        groups.setdefault(_split_of(shard), []).append(shard)
    if split == "all":
        return list(shards), split
    unnamed = groups.pop(None, [])
    if unnamed and groups:
        raise InputError(
            f"{unnamed[0]}: the name does not begin with train-, val- or test-, as those of other shards of {source} do"
        )
    present: dict[Named, list[str]] = {name: groups[name] for name in NAMED if name in groups} or {"train": unnamed}
    served = resolve_split(split, present=present, source=source)
    paths = present[served.name]
    if served.part == "whole":
        return paths, str(served)
    if len(paths) == 1:
        raise InputError(
            f"{paths[0]}: the only train shard cannot also be held out; add a val shard, or use split 'all'"
        )
    return paths[:-1] if served.part == "kept" else paths[-1:], str(served)


def _split_of(shard: str) -> Named | None:
    name = Path(shard).name
    return next((split for split in NAMED if name.startswith(f"{split}-")), None)


def parse_labels(text: str, *, name: str) -> tuple[str, ...]:
    """Read the class names in `text`, the content of the classes file `name`.

    Raises:
        InputError: if there is no class name, or a class name appears twice.
    """
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise InputError(f"{name}: is empty; one class name per line is needed")
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"{name}: class {repeated[0]!r} appears twice")
    return labels


def parse_target(data: bytes, *, labels: Sequence[str] | None, name: str) -> int:
    """Read the class index in `data`, the content of the `.cls` file of the sample `name`.

    Raises:
        InputError: if it is not a number, or if the labels are known and it is out of their range.
    """
    text = data.decode("ascii", errors="replace").strip()
    if not text.isdecimal() or (labels is not None and int(text) >= len(labels)):
        accepted = "a class index" if labels is None else f"a class index in 0..{len(labels) - 1}"
        raise InputError(f"{name}.cls: {text[:20]!r} is not {accepted}")
    return int(text)


def image_and_label(files: Mapping[str, Content], *, name: str) -> tuple[Content, Content] | None:
    """Return a sample's image and label.

    Args:
        files: the sample's files by lower-case ending without the dot.
        name: name of the sample in errors.

    Returns:
        None if the sample has neither image nor label.

    Raises:
        InputError: if the sample has only one of the two.
    """
    images = [content for ending, content in files.items() if f".{ending}" in IMAGE_EXTENSIONS]
    if not images and "cls" not in files:
        return None
    if not images:
        raise InputError(f"{name}: sample without image; accepted endings are {', '.join(IMAGE_EXTENSIONS)}")
    if "cls" not in files:
        raise InputError(f"{name}: sample without label, a file {name.rpartition(':')[2]}.cls")
    return images[0], files["cls"]
