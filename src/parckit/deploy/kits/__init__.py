"""Kits: what a board's own compiler starts from, written from a bundle. A board is a file and a line in `KITS`."""

from collections.abc import Mapping

from parckit.contract import InputError
from parckit.deploy.kits.kit import BUNDLE, Compiled, Graph, Kit, KitContent, References, read_graph
from parckit.deploy.kits.rdk_x5 import RDK_X5_KIT
from parckit.deploy.kits.rk3588 import RK3588_KIT

KITS: Mapping[str, Kit] = {kit.target: kit for kit in (RDK_X5_KIT, RK3588_KIT)}
"""Name of the board -> how its kit is made. The names are those of the table of targets."""

__all__ = ["BUNDLE", "KITS", "Compiled", "Graph", "Kit", "KitContent", "References", "find_kit", "read_graph"]


def find_kit(target: str) -> Kit:
    """Return how the kit of a board is made.

    Raises:
        InputError: if there is none for this board.
    """
    if target not in KITS:
        raise InputError(f"target={target!r}: there are kits for {', '.join(KITS)}")
    return KITS[target]
