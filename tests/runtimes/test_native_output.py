import sys

from processes import run

PRINTS = """
import ctypes, os
from parckit.runtimes.native_output import capturing_native_output
with capturing_native_output() as printed:
    ctypes.CDLL(None).puts(b"from C")
    os.write(2, b"error\\n")
    print("from Python")
    text = printed()
print("after")
assert sorted(text.split("\\n")) == ["", "error", "from C", "from Python"], text
"""


def test_nothing_reaches_the_terminal_and_all_of_it_can_be_read():
    assert run(sys.executable, "-c", PRINTS) == "after\n"
