"""How the threads of OpenMP, which torch computes with on a CPU, wait for each other."""

import os
import sys

_TURNS = "1000"
"""Turns of the waiting loop before a thread sleeps. Without any, training on an idle machine is much slower."""


def wait_briefly() -> None:
    """Let threads wait for each other in a loop only for some microseconds, and then sleep.

    By default they stay in the loop for milliseconds. On a busy machine they then keep a core from the very thread that
    they wait for, and training can be several times slower.

    OpenMP reads the environment variables once, when torch is imported. So this changes nothing if torch is imported
    already, or if the user has set OMP_WAIT_POLICY.
    """
    if "OMP_WAIT_POLICY" in os.environ or "torch" in sys.modules:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", _TURNS)
