"""`parckit list`: the models of the family."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import timm

from parckit.cli.parsing import verb_parser
from parckit.cli.tables import show
from parckit.contract import InputError
from parckit.measure import cost
from parckit.models import build_hollow, preprocessing_of

_FROM_TIMM = {
    "mobilevit_xs": "arXiv:2110.02178",
    "mobilevit_s": "arXiv:2110.02178",
    "convnext_atto": "arXiv:2201.03545",
    "convnext_femto": "arXiv:2201.03545",
    "convnext_pico": "arXiv:2201.03545",
    "convnext_nano": "arXiv:2201.03545",
    "resnet50": "arXiv:1512.03385",
    "mobilenetv2_100": "arXiv:1801.04381",
}
"""timm's own models of the family and twins of our hybrids, and their papers, which timm does not name."""

_PAPERS = {
    "arXiv:1512.03385": ("ResNet", "CVPR 2016"),
    "arXiv:1801.04381": ("MobileNetV2", "CVPR 2018"),
    "arXiv:2110.02178": ("MobileViT", "ICLR 2022"),
    "arXiv:2201.03545": ("ConvNeXt", "CVPR 2022"),
    "arXiv:2203.03952": ("ParC-Net", "ECCV 2022"),
    "arXiv:2205.03436": ("EdgeViT", "ECCV 2022"),
    "arXiv:2211.07157": ("ParCNetV2", "ICCV 2023"),
}
"""What papers call their models, and where they appeared; a model's configuration has the arXiv number alone."""

_TITLE = "parckit models; parameters and MAdds in millions, the licence is that of the official weights"

_COLUMNS = ("model", "family", "size", "params", "MAdds", "paper", "licence")

_UNBROKEN = ("model", "family", "licence")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A model of the list.

    Attributes:
        model: name in timm's registry.
        family: what the models of its paper are called.
        size: (height, width) that it was made for, pixels.
        params: learned numbers.
        madds: multiply-adds of one image of that size.
        paper: venue and number.
        licence: of the official weights; empty if there are none.
    """

    model: str
    family: str
    size: tuple[int, int]
    params: int
    madds: int
    paper: str
    licence: str


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("list", description="Models: family, parameters, multiply-adds at their own size, paper.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="e.g. 'parcnet_*'")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.read(argv)
    found = names(args.pattern)
    if not found:
        raise InputError(f"{args.pattern!r}: matches none of {', '.join(names())}")
    entries = sorted(map(describe, found), key=lambda entry: (_for_tests(entry.model), entry.family, entry.params))
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
    else:
        show(_TITLE, _COLUMNS, [_row(entry) for entry in entries], unbroken=_UNBROKEN)


def names(pattern: str = "*") -> list[str]:
    """Return the names of the family's models that match a pattern."""
    matching = set(timm.list_models(pattern))
    ours = {name for name in matching if timm.model_entrypoint(name).__module__.startswith("parckit.")}
    return sorted(ours | (matching & _FROM_TIMM.keys()))


def describe(name: str) -> Entry:
    """Count a model's cost and look up where it comes from."""
    model = build_hollow(name)
    size = preprocessing_of(model).size
    found = cost.count(model, size=size)
    config = cast("Mapping[str, str | None]", model.pretrained_cfg)
    paper = _FROM_TIMM.get(name) or config.get("paper_ids") or ""
    family, venue = _PAPERS[paper]
    return Entry(
        model=name,
        family=family,
        size=size,
        params=found.params,
        madds=found.madds,
        paper=f"{venue}, {paper}",
        licence=config.get("license") or "",
    )


def _for_tests(name: str) -> bool:
    return name.startswith("test_")


def _row(entry: Entry) -> tuple[str, ...]:
    height, width = entry.size
    return (
        entry.model,
        entry.family,
        f"{height}" if height == width else f"{height}x{width}",
        f"{entry.params / 1e6:.2f}",
        f"{entry.madds / 1e6:,.0f}",
        entry.paper.partition(",")[0],
        entry.licence.removesuffix("-license") or "-",
    )
