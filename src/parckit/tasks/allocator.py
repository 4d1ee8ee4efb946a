"""Keeping the memory of one training step for the next."""

import ctypes
import sys

# malloc.h of glibc: their numbers are part of its binary interface.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next allocation, for the rest of this process; return whether it will.

    By default it returns every large tensor to the system when it is freed, and the system hands out the next one page
    by page, zeroed, while a step on a CPU makes and frees gigabytes. The process then stays as large as its largest
    step. Other C libraries and systems are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No maps of their own for large blocks, and no giving back from the end of the heap.
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, _LARGEST) == 1
