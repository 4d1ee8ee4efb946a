import subprocess
import sys

import pytest

COUNT = """
import os
import numpy as np
from parckit.serve.allocator import return_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

assert return_large_blocks()
np.ones(16 << 20, np.uint8)
start = resident()
large, small = [], []
for _ in range(10):
    large.append(np.ones(12 << 20, np.uint8))
    small.append(np.ones(100_000, np.uint8))
full = resident()
large.clear()
print(full - start, resident() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_pictures_do_not_stay_in_memory():
    printed = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True).stdout
    full, left = map(int, printed.split())
    assert full > 100e6
    # Without the setting, all ten blocks stay.
    assert left < 10e6
