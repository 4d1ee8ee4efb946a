"""Keep the memory of a training step for the next step."""

import ctypes
import sys

# From glibc's malloc.h. The numbers are part of its binary interface, so they never change.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the rest of this process; return whether it will.

    A training step on a CPU allocates and frees gigabytes. By default glibc returns every large freed tensor to the
    system, and the system fills the memory of the next tensor with zeros, page by page. With kept memory, the process
    stays as large as its largest step. Other C libraries and other systems stay as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Allocate large blocks on the heap too, and never return the end of the heap to the system.
    return mallopt(_M_MMAP_MAX, 0) == 1 and mallopt(_M_TRIM_THRESHOLD, _LARGEST) == 1
