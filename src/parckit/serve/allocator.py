"""Give the memory of large pictures back to the system."""

import ctypes
import sys

# From glibc's malloc.h. The numbers are part of its binary interface, so they never change.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 8 << 20
"""Bytes from which a block counts as large: a picture of two million pixels, to which the setting costs about 1 ms."""


def return_large_blocks() -> bool:
    """Tell glibc to return every large block when it is freed; return whether it will.

    By default glibc keeps large blocks as soon as one was freed. Small blocks between them then keep the process as
    large as its largest moment. Other C libraries and other systems stay as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # With a fixed limit for large blocks, glibc would return the end of the heap from 128 kB, so after every photo.
    return mallopt(_M_MMAP_THRESHOLD, _LARGE) == 1 and mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE) == 1
