"""What the C++ code of an engine prints. It does not pass through Python's streams."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_STREAMS = (1, 2)
"""Descriptors of standard output and standard error."""


@contextmanager
def capturing_native_output() -> Generator[Callable[[], str]]:
    """Keep what the process prints meanwhile, in any thread, away from the terminal.

    Yields:
        A function that returns what was printed so far.
    """
    _flush()
    copies = [os.dup(stream) for stream in _STREAMS]
    with tempfile.TemporaryFile() as file:
        for stream in _STREAMS:
            os.dup2(file.fileno(), stream)

        def printed() -> str:
            _flush()
            end = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            return os.pread(file.fileno(), end, 0).decode(errors="replace")

        try:
            yield printed
        finally:
            _flush()
            for copy, stream in zip(copies, _STREAMS, strict=True):
                os.dup2(copy, stream)
                os.close(copy)


def _flush() -> None:
    """Write what Python and C still hold back."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with suppress(OSError, TypeError):  # Windows has no library of that name
        ctypes.CDLL(None).fflush(None)
