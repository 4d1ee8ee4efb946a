"""The boards whose published limits an export can be compared with: one file a board, and a line in `TARGETS`."""

from collections.abc import Mapping

from parckit.contract import InputError
from parckit.deploy.targets.generic_npu import GENERIC_NPU
from parckit.deploy.targets.rdk_x5 import RDK_X5
from parckit.deploy.targets.rk3588 import RK3588
from parckit.deploy.targets.target import ConvLimits, Target

TARGETS: Mapping[str, Target] = {"rdk-x5": RDK_X5, "rk3588": RK3588, "generic-npu": GENERIC_NPU}
"""Name of the board -> its limits."""

__all__ = ["TARGETS", "ConvLimits", "Target", "find_target"]


def find_target(name: str) -> Target:
    """Return the limits of a board.

    Raises:
        InputError: if the board is not known.
    """
    if name not in TARGETS:
        raise InputError(f"target={name!r}: choose from {', '.join(TARGETS)}")
    return TARGETS[name]
