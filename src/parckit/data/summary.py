"""What a run sees of its data, in a few lines: classes and images of every split, and what is left out and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from parckit.contract import printable
from parckit.data.datasets import Table
from parckit.data.targets import ObjectTargets, PixelTargets, count_images, count_unlabelled
from parckit.processing import LeftOut
from parckit.processing.listing import Cause

_FEW = 3
"""Number of names or endings in a line before "..."."""

_MOST_CLASSES = 6
"""A line counts the images of every class if there are no more classes than this."""

_WORDS: dict[Cause, str] = {
    "hidden": "hidden or left by a system",
    "place": "outside of the folders of splits and classes",
    "link": "links that lead nowhere or to a folder that is read anyway",
    "special": "no regular files",
    "split": "splits that cannot be used",
}
"""Why something is left out, without file endings, whose line counts every ending."""


def describe_run(train: Table, val: Table) -> tuple[str, ...]:
    """Return what a training sees: a line for the classes, for each of the two splits, and for what is left out."""
    classes = f"{len(train.labels)} classes: {_listed(train.labels, most=_MOST_CLASSES)}"
    return (
        classes,
        f"training: {_count(train)}",
        f"validation: {_count(val)}",
        f"left out: {describe_left_out([*train.left_out, *val.left_out])}",
    )


def describe_split(name: str, table: Table) -> str:
    """Return what is in a split."""
    return f"{name}: {_count(table)}"


def describe_left_out(entries: Iterable[LeftOut]) -> str:
    """Return what is left out, why, and the first few names."""
    by_cause: dict[Cause, dict[LeftOut, None]] = {}
    for entry in entries:
        by_cause.setdefault(entry.cause, {})[entry] = None
    parts: list[str] = []
    for cause, unique in by_cause.items():
        if cause == "ending":
            endings = Counter(entry.detail for entry in unique).most_common()
            counted = _listed([f"{count} {ending}" for ending, count in endings], most=_FEW)
            parts.append(f"{len(unique)} with endings that are not read ({counted})")
        else:
            parts.append(f"{len(unique)} {_WORDS[cause]} ({_listed(sorted(map(_short, unique)), most=_FEW)})")
    return "; ".join(parts) or "nothing"


def _count(table: Table) -> str:
    """Return the number of images, the part of the source and the images of the classes."""
    if isinstance(table.targets, ObjectTargets):
        return f"{len(table.targets)} images, {table.served}{_count_objects(table, table.targets)}"
    if isinstance(table.targets, PixelTargets):
        return f"{len(table.targets)} images, {table.served}"
    counts = count_images(table.targets, classes=len(table.labels)).tolist()
    if len(counts) <= _MOST_CLASSES:
        spread = ", ".join(f"{label} {count}" for label, count in zip(table.labels, counts, strict=True))
    else:
        spread = f"{min(counts)} to {max(counts)} per class"
    if unlabelled := count_unlabelled(table.targets):
        spread += f"; {unlabelled} without a label"
    return f"{len(table.targets)} images, {table.served} ({printable(spread)})"


def _count_objects(table: Table, targets: ObjectTargets) -> str:
    counts = targets.count_objects(classes=len(table.labels))
    if counts is None:
        return ""
    if len(counts) > _MOST_CLASSES:
        return f" ({counts.sum()} objects, {counts.min()} to {counts.max()} per class)"
    spread = ", ".join(f"{label} {count}" for label, count in zip(table.labels, counts.tolist(), strict=True))
    return f" ({counts.sum()} objects: {printable(spread)})"


def _listed(names: Sequence[str], *, most: int) -> str:
    return printable(", ".join(names[:most]) + (", ..." if len(names) > most else ""))


def _short(entry: LeftOut) -> str:
    """Return the last two parts of a path: usually class and name."""
    if entry.cause == "split":
        return f"{Path(entry.path).name}: {entry.detail}"
    return "/".join(Path(entry.path).parts[-2:])
