"""`parckit list`: the models of the family."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import cast

from parckit.cli.tables import show
from parckit.contract import InputError
from parckit.options import verb_parser

_TITLE = "parckit models; parameters in millions, MAdds in billions; the licence is that of the official weights"
_COLUMNS = ("model", "family", "px", "params", "MAdds", "paper", "licence")
_UNBROKEN = ("model", "family", "licence")


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("list", description="Models with family, image size, parameters, multiply-adds, paper.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="e.g. 'parcnet_*'")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.read(argv)
    # parckit.measure.catalogue computed this file. To import torch and timm and to count here would take seconds.
    catalogue = cast(
        "list[Mapping[str, object]]",
        json.loads((files("parckit.measure") / "catalogue.json").read_text(encoding="utf-8")),
    )
    matching = [entry for entry in catalogue if fnmatchcase(str(entry["model"]), args.pattern)]
    if not matching:
        raise InputError(f"{args.pattern!r}: matches none of {', '.join(str(entry['model']) for entry in catalogue)}")
    if args.json:
        print(json.dumps(matching, indent=2))
    else:
        show(_TITLE, _COLUMNS, map(_row, matching), unbroken=_UNBROKEN)


def _row(entry: Mapping[str, object]) -> tuple[str, ...]:
    height, width = cast("tuple[int, int]", entry["size"])
    params, madds = cast("int", entry["params"]) / 1e6, cast("int", entry["madds"]) / 1e9
    venue, _, year = str(entry["paper"]).partition(",")[0].partition(" ")
    return (
        str(entry["model"]),
        str(entry["family"]),
        f"{height}" if height == width else f"{height}x{width}",
        f"{params:.2f}",
        f"{madds:.3f}" if madds < 10 else f"{madds:.2f}",
        f"{venue}'{year[2:]}",
        str(entry["licence"]).removesuffix("-license").removesuffix(" stated") or "-",
    )
