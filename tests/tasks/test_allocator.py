"""Keeping freed memory: fewer page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from parckit.tasks.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.ones(10_000_000)  # 40 MB, 9766 pages
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_memory_is_not_asked_for_again():
    # Without, the pages of all five tensors; with, at most those of one, while the heap grows to its size.
    assert page_faults("keep") < 0.5 * page_faults("default")
