"""The format of shards: which files belong to a split, which files make a sample, what a label means.

A shard is a tar file of samples. A sample consists of consecutive files with the same key. The key is the file name up
to its first dot. One file is the image. Another one ends with `.cls` and holds the class index in decimal digits. Files
with other endings are ignored. Keys may have dots: `v1.5.jpg` is a sample with the key `v1.5` if there is a `v1.5.cls`,
and otherwise a further file of the sample `v1`.

The file name of a shard begins with its split: `train-`, `val-` or `test-`. If no name begins so, all shards are
`train`. `parckit.data.splits` says what serves as a missing split. If a part of `train` is held out, it is the last
shard.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from braceexpand import braceexpand

from parckit.contract import MOST_CLASSES, InputError
from parckit.data.splits import NAMED, Named, Split, resolve_split
from parckit.processing import IMAGE_EXTENSIONS

SHARD_EXTENSIONS = (".tar", ".tar.gz", ".tgz")
CLASSES_FILE = "classes.txt"
"""A text file in the folder of the shards: one class name per line, in the order of the indices."""

Content = TypeVar("Content")


GLOB = "*?["
"""Characters that make a file name a wildcard pattern."""

_MOST_NAMES = 100_000
"""A pattern may stand for so many shards; ImageNet has a few hundred."""

_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.-?(\d{1,18}))?")


def expand_braces(pattern: str) -> list[str]:
    """Expand braces as a shell does: `a-{00..02}.tar` becomes three names.

    Raises:
        InputError: if a brace is not closed, or the pattern has too many names.
    """
    too_many = InputError(f"{pattern:.200}: stands for more than {_MOST_NAMES} names")
    # braceexpand holds every range in memory, so look at their lengths before.
    for inside in re.findall(r"[^{},]*\.\.[^{},]*", pattern):
        ends = _RANGE.fullmatch(inside)
        if ends is None and re.fullmatch(r"[-.\d]+", inside):
            raise too_many
        if ends is not None and abs(int(ends[1]) - int(ends[2])) // max(1, int(ends[3] or 1)) >= _MOST_NAMES:
            raise too_many
    try:
        names = list(islice(braceexpand(pattern, escape=False), _MOST_NAMES + 1))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{pattern:.200}: a brace is not closed") from error
    if len(names) > _MOST_NAMES:
        raise too_many
    return names


def expand_paths(pattern: str, *, kind: str) -> list[Path]:
    """Return the files that a path with braces, or with wildcards in the file name, stands for.

    Args:
        pattern: the path.
        kind: what errors call such a file.

    Raises:
        InputError: if a file is missing.
    """
    paths: list[Path] = []
    for name in expand_braces(pattern):
        path = Path(name).expanduser()
        matches = sorted(path.parent.glob(path.name)) if any(mark in path.name for mark in GLOB) else [path]
        for match in matches or [path]:
            if not match.is_file():
                raise InputError(f"{match}: no such {kind}")
        paths.extend(matches)
    return paths


class ServedShards(NamedTuple):
    """The shards that serve as a split.

    Attributes:
        paths: the shards.
        siblings: all shards of the same split of the source, also those that are held out. They decide the classes.
        served: which part of the source serves as the split, in words.
    """

    paths: list[str]
    siblings: list[str]
    served: str


def choose_shards(shards: Sequence[str], *, split: Split, source: str) -> ServedShards:
    """Return the shards that serve as a split.

    Raises:
        InputError: if only some of the shards have a split in their names, or the split would be empty.
    """
    groups: dict[Named | None, list[str]] = {}
    for shard in shards:
        groups.setdefault(_split_of(shard), []).append(shard)
    if split == "all":
        return ServedShards(list(shards), list(shards), split)
    unnamed = groups.pop(None, [])
    if unnamed and groups:
        raise InputError(
            f"{unnamed[0]}: the name does not begin with train-, val- or test-, as those of other shards of {source} do"
        )
    present: dict[Named, list[str]] = {name: groups[name] for name in NAMED if name in groups} or {"train": unnamed}
    served = resolve_split(split, present=present, source=source)
    paths = present[served.name]
    if served.part == "whole":
        return ServedShards(paths, paths, str(served))
    if len(paths) == 1:
        raise InputError(
            f"{paths[0]}: the only train shard cannot also be held out; add a val shard, or use split 'all'"
        )
    return ServedShards(paths[:-1] if served.part == "kept" else paths[-1:], paths, str(served))


def _split_of(shard: str) -> Named | None:
    name = Path(shard).name
    return next((split for split in NAMED if name.startswith(f"{split}-")), None)


def parse_target(data: bytes, *, labels: Sequence[str] | None, name: str) -> int:
    """Read the class index in `data`, the content of the `.cls` file of the sample `name`.

    Raises:
        InputError: if it is not a number below `MOST_CLASSES`, or if the labels are known and it is out of their range.
    """
    text = data.decode("ascii", errors="replace").strip()
    # Python refuses to read numbers of thousands of digits.
    highest = (MOST_CLASSES if labels is None else len(labels)) - 1
    if not text.isdecimal() or len(text.lstrip("0")) > len(str(MOST_CLASSES)) or int(text) > highest:
        raise InputError(f"{name}.cls: {text[:20]!r} is not a class index in 0..{highest}")
    return int(text)


def find_samples(
    files: Iterable[tuple[str, Content]], *, key: str, shard: str
) -> Iterator[tuple[str, Content, Content]]:
    """Yield key, image and label of the samples among consecutive files with the same key up to the first dot.

    Args:
        files: what follows the first dot, and the file.
        key: the key.
        shard: names the shard in errors.

    Raises:
        InputError: if a sample has only one of image and label, or two labels.
    """
    # In most samples no ending has a dot. Otherwise the key can have dots, too.
    kinds_of: dict[str, dict[str, Content]] = {}
    for ending, content in files:
        rest, _, kind = ending.rpartition(".")
        kinds, kind = kinds_of.setdefault(rest, {}), kind.lower()
        if kind in kinds and (kind == "cls" or f".{kind}" in IMAGE_EXTENSIONS):
            raise InputError(f"{shard}:{key}.{ending}: appears twice")
        kinds[kind] = content
    is_plain = "cls" in kinds_of.get("", {})
    for rest, kinds in kinds_of.items():
        whole = f"{key}.{rest}" if rest else key
        images = [content for kind, content in kinds.items() if f".{kind}" in IMAGE_EXTENSIONS]
        if "cls" in kinds and not images:
            accepted = f"accepted endings are {', '.join(IMAGE_EXTENSIONS)}"
            raise InputError(f"{shard}:{whole}: sample without image; {accepted}")
        if "cls" in kinds:
            yield whole, images[0], kinds["cls"]
        elif images and not (rest and is_plain):
            raise InputError(f"{shard}:{whole}: sample without label, a file {whole}.cls")
