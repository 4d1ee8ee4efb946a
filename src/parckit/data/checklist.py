"""What `parckit data check` reads: the pictures that training and evaluation see, listed by the same code."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from parckit.contract import InputError
from parckit.data.datasets import Table
from parckit.data.folder import FileTable
from parckit.data.huggingface import SCHEME, HuggingFaceTable
from parckit.data.shards import ShardTable, is_shard_folder
from parckit.data.source import OpenTable, Source, name_source, open_table, refuse_shared
from parckit.data.splits import NAMED
from parckit.data.summary import describe_left_out, describe_split
from parckit.data.targets import labels_at
from parckit.processing import LeftOut, subfolders
from parckit.processing.listing import walk


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file, or an image in a shard.

    Attributes:
        path: the file, `SHARD:KEY`, or split and row of a Hugging Face table.
        read: returns its bytes.
        split: the part of the source that it belongs to; empty if training and evaluation do not see it.
        label: its class or classes, or empty.
    """

    path: Path
    read: Callable[[], bytes]
    split: str = ""
    label: str = ""


@dataclass(kw_only=True, slots=True)
class Checklist:
    """What there is to check; it is filled source by source.

    Attributes:
        members: the images that training and evaluation see; all files of a folder that they cannot use.
        left_out: what training and evaluation do not read.
        lines: what training and evaluation see, in words.
        refusals: why a split cannot be used, and of which source.
    """

    members: list[Member] = field(default_factory=list[Member])
    left_out: dict[LeftOut, None] = field(default_factory=dict[LeftOut, None])
    lines: list[str] = field(default_factory=list[str])
    refusals: dict[str, Path] = field(default_factory=dict[str, Path])

    @property
    def misplaced(self) -> list[LeftOut]:
        """What a user may not expect to be left out: pictures outside of class folders, links and pipes."""
        return [entry for entry in self.left_out if entry.cause in ("place", "link", "special")]


def list_members(source: Source, *, open_table: OpenTable = open_table) -> Checklist:
    """Return what a check of a source has to read.

    If a folder cannot be trained on at all, every file in it and its folders is a member.

    Args:
        source: the source.
        open_table: opens a split of it, as the wanted task does.

    Raises:
        InputError: if there is nothing to check.
    """
    checklist = Checklist()
    parts = [source] if isinstance(source, str) else source
    for part in parts:
        if part == "digits":
            raise InputError("digits: come with scikit-learn and have no files; there is nothing to check")
        folder = Path(part).expanduser()
        is_flat = folder.is_dir() and not is_shard_folder(folder) and not subfolders(str(folder), left_out=[]).folders
        before = len(checklist.members)
        if is_flat:
            checklist.lines.append(f"{folder}: has no class folders; all files are checked")
        else:
            _add_tables(part, to=checklist, open_table=open_table)
        if len(checklist.members) == before and folder.is_dir():
            _add_files(folder, to=checklist)
    if len(parts) > 1:
        try:
            refuse_shared(parts)
        except InputError as error:
            checklist.refusals.setdefault(str(error), Path(name_source(source)))
    if not checklist.members:
        raise InputError(next(iter(checklist.refusals), f"{name_source(source)}: holds no files"))
    checklist.lines.append(f"left out: {describe_left_out(checklist.left_out)}")
    return checklist


def _add_tables(source: str, *, to: Checklist, open_table: OpenTable) -> None:
    """Add what training and evaluation see of a source."""
    served: set[str] = set()
    for split in NAMED:
        try:
            table = open_table(source, split=split)
        except InputError as error:
            # The same mistake often stops several splits.
            to.refusals.setdefault(str(error), Path(source))
            continue
        to.left_out.update(dict.fromkeys(table.left_out))
        if split == "train" and len(table.labels) == 1:
            to.refusals[f"{source}: has only the class {table.labels[0]!r}, so there is nothing to learn"] = Path(
                source
            )
        # If there is no test split, another split serves as test.
        if table.served not in served:
            to.lines.append(describe_split(split, table))
            to.members.extend(_members(table, split=split))
        served.add(table.served)


def _members(table: Table, *, split: str) -> list[Member]:
    if not isinstance(table, FileTable | ShardTable | HuggingFaceTable):
        raise InputError(f"{split}: its images have no files to check")
    return [
        Member(
            # Path would make hf:/ of hf://.
            path=Path(table.name(index).removeprefix(SCHEME)),
            read=partial(table.read, index),
            split=split,
            label=labels_at(table.targets, index, names=table.labels),
        )
        for index in range(len(table.targets))
    ]


def _add_files(folder: Path, *, to: Checklist) -> None:
    """Add all files of a folder and the folders in it."""
    left_out: list[LeftOut] = []
    listed = walk(str(folder), left_out=left_out)
    paths = [Path(parent) / name for parent, listing in listed for name in listing.files]
    to.members.extend(Member(path=path, read=path.read_bytes) for path in sorted(paths))
    to.left_out.update(dict.fromkeys(left_out))
