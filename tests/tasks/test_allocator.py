"""Keeping freed memory: fewer page faults."""

import sys

import pytest

from parckit.tasks import allocator
from processes import run

# A process of its own, whose memory no training has touched. It runs the file alone, because its package imports torch.
COUNT = """
import resource, runpy, sys
keep_freed_memory = runpy.run_path(sys.argv[1])["keep_freed_memory"]
for keep in (lambda: True, keep_freed_memory):
    assert keep()
    b"1" * 40_000_000  # 9766 pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"1" * 40_000_000
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""Prints how many pages the system hands out for five large blocks: as a process begins, and with memory kept."""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_memory_is_not_asked_for_again():
    by_default, kept = map(int, run(sys.executable, "-c", COUNT, allocator.__file__).split())
    # Without the setting, the pages of all five blocks; with it, at most those of one, while the heap grows.
    assert kept < 0.5 * by_default
