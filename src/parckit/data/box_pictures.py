"""Leaves out the pictures of a source of boxes that cannot be read, or whose labels do not fit."""

from collections.abc import Sequence
from dataclasses import replace

from parckit.data.box_records import BoxRecords, NotedFault, note_fault, select_pictures
from parckit.data.faults import Fault
from parckit.data.headers import Header, read_headers
from parckit.data.turning import upright_size


def leave_out_unreadable(records: BoxRecords) -> tuple[BoxRecords, list[Header]]:
    """Return the pictures whose headers can be read and that have the declared size, and these headers.

    Faults of the other pictures belong to no picture any more.
    """
    headers = read_headers(records.paths)
    faults: list[Fault] = []
    kept = _readable(records, headers, faults=faults)
    if len(kept) < len(headers):
        lost = {*range(len(headers))}.difference(kept)
        faults += [noted.fault for noted in records.faults if noted.picture in lost]
        records = select_pictures(records, kept)
        records = replace(records, faults=[*records.faults, *(NotedFault(None, fault) for fault in faults)])
    return records, [headers[index] for index in kept]


def _readable(records: BoxRecords, headers: Sequence[Header], *, faults: list[Fault]) -> list[int]:
    kept: list[int] = []
    for index, header in enumerate(headers):
        path, declared = records.paths[index], tuple(records.sizes[index].tolist())
        stored = (header.width, header.height)
        if header.problem == "missing":
            faults.append(note_fault("missing picture", records, f"{path} does not exist", picture=index))
        elif header.problem:
            faults.append(Fault("broken picture", path, header.problem))
        elif all(declared) and declared not in (stored, upright_size(*stored, orientation=header.orientation)):
            sizes = ", but the picture has ".join("{}x{}".format(*size) for size in (declared, stored))
            faults.append(note_fault("wrong size", records, f"the labels say {sizes} pixels", picture=index))
        else:
            kept.append(index)
    return kept
