"""Checks that cannot be run, because the engine cannot run on the machine that makes its file."""

import logging
from typing import Literal

from parckit.contract import Check
from parckit.runtimes import find_engine

_log = logging.getLogger(__name__)


def skipped_check(engine: str, *, done: Literal["exported", "quantized"]) -> Check | None:
    """Return a check that says why it was not run, and warn; None if the engine can run here.

    Args:
        engine: name of the engine.
        done: what this machine did to make the file.
    """
    obstacle = find_engine(engine).obstacle
    if obstacle is None:
        return None
    _log.warning("%s was not run, so nobody knows whether it agrees: %s", engine, obstacle)
    return Check(engine=engine, passed=None, reason=f"it was {done} on a machine that cannot run it ({obstacle})")
