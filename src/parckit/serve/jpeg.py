"""A limit on the parts of a JPEG, for strangers' pictures.

A JPEG may hold any number of scans, and a decoder goes through the whole picture for each of them. So a file of a few
kilobytes can keep a decoder busy for minutes. Pillow has no limit; libtiff, which reads JPEGs inside TIFFs, allows 100.
"""

import re

from parckit.contract import InputError

_BEGINNING = b"\xff\xd8"
_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff([^\xff\x00\x01\xd0-\xd7])")
"""A marker that begins a part with a length. The others stand alone, or inside the compressed pixels of a scan."""
_LENGTH_BYTES = 2
_MOST_SCANS = 100
"""As in libtiff. Programs write about ten scans."""
_MOST_PARTS = 5_000
"""Pillow reads every part in Python. A part has up to 65 kB, so a file of 20 MB with a long profile has 300 or so."""


def check_jpeg(data: bytes, *, name: str) -> None:
    """Check how many scans and other parts a JPEG has. Other formats are accepted.

    Args:
        data: content of the file.
        name: what an error calls it.

    Raises:
        InputError: if there are too many.
    """
    if not data.startswith(_BEGINNING):
        return
    position, parts, scans = len(_BEGINNING), 0, 0
    while (marker := _MARKER.search(data, position)) is not None and marker[1][0] != _END:
        parts += 1
        scans += marker[1][0] == _SCAN
        if scans > _MOST_SCANS or parts > _MOST_PARTS:
            raise InputError(f"{name}: is a JPEG with more than {_MOST_SCANS} scans, or {_MOST_PARTS} parts in all")
        # The part says how long it is; the compressed pixels of a scan follow it.
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + _LENGTH_BYTES], "big")
