"""Checks the splits of a source of boxes or masks, one after the other, and puts together what is wrong with them.

`parckit.data.checking` finds what is wrong with the pixels of the pictures.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from parckit.contract import InputError
from parckit.data.checking import Finding
from parckit.data.checklist import Member
from parckit.data.faults import Fault, describe_faults
from parckit.data.picture_table import BoxTable, MaskTable, PictureFiles
from parckit.data.splits import Named
from parckit.data.summary import describe_left_out
from parckit.processing import LeftOut

_Table = TypeVar("_Table", BoxTable, MaskTable)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What training and evaluation see of a source, and what is wrong with it.

    Attributes:
        lines: what they see, in words.
        problems: what is wrong.
        pictures: number of pictures that were checked.
        files: the picture files, for `parckit.data.checking.inspect`; a picture in two splits comes once.
    """

    lines: tuple[str, ...]
    problems: tuple[Finding, ...]
    pictures: int
    files: tuple[Member, ...]


class SplitReport(NamedTuple):
    """What a look at one split shows.

    Attributes:
        lines: what is in the split, in words.
        faults: what is wrong with its files, boxes and masks.
        lacking: what its labels lack: kind of problem, and words that go on after the name of the split. It matters
            only if the split is trained on.
    """

    lines: Sequence[str]
    faults: Sequence[Fault]
    lacking: Sequence[tuple[str, str]]


def check_splits(
    source: str, tables: Mapping[Named, Callable[[], _Table]], *, look: Callable[[_Table], SplitReport]
) -> SourceReport:
    """Check all splits of a source.

    Args:
        source: the source.
        tables: split -> what opens it.
        look: looks at the labels of a split.

    Raises:
        InputError: if none of the splits can be used.
    """
    lines: list[str] = []
    problems: list[Finding] = []
    faults: list[Fault] = []
    files: list[Member] = []
    left_out: dict[LeftOut, None] = {}
    split_of: dict[str, str] = {}
    pictures = 0
    for split, open_split in tables.items():
        try:
            table = open_split()
        except InputError as error:
            problems.append(Finding(path=Path(source), problem="refused", detail=str(error)))
            continue
        report = look(table)
        lines += [f"{split}: {line}" for line in report.lines]
        faults += report.faults
        files += _new_files(table, split=split, known=split_of)
        problems += _across_splits(table, split=split, split_of=split_of)
        lacking = report.lacking if split == "train" else ()
        problems += [Finding(path=Path(source), problem=kind, detail=f"{split} {words}") for kind, words in lacking]
        left_out.update(dict.fromkeys(table.left_out))
        pictures += len(table.targets)
    if not lines:
        raise InputError(problems[0].detail)
    lines += [f"left out: {describe_left_out(left_out)}"] if left_out else []
    lines.append(f"faults: {describe_faults(faults)}")
    # Pictures without objects are counted above; many sources have them on purpose.
    problems += [
        Finding(path=Path(fault.file), problem=fault.kind, detail=fault.detail)
        for fault in faults
        if fault.kind != "background"
    ]
    return SourceReport(lines=tuple(lines), problems=tuple(problems), pictures=pictures, files=tuple(files))


def _across_splits(table: BoxTable | MaskTable, *, split: str, split_of: dict[str, str]) -> list[Finding]:
    """Return the pictures that are in another split too, and note those of this split."""
    names = [table.name(index) for index in range(len(table.targets))]
    repeated = [name for name in names if name in split_of]
    problems = [
        Finding(path=Path(name), problem="in two splits", detail=f"{split_of[name]} and {split}") for name in repeated
    ]
    split_of.update(dict.fromkeys(names, split))
    return problems


def _new_files(table: BoxTable | MaskTable, *, split: str, known: Container[str]) -> Iterator[Member]:
    """Yield the picture files that no split before this one has. Pictures that are drawn have no files."""
    if isinstance(table.pictures, PictureFiles):
        names = (table.name(index) for index in range(len(table.targets)))
        paths = (Path(name) for name in names if name not in known)
        yield from (Member(path=path, read=path.read_bytes, split=split) for path in paths)
