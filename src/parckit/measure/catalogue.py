"""The catalogue of models, stored in `catalogue.json`. `python -m parckit.measure.catalogue` writes the file again.

Importing torch and timm takes seconds, and so does counting parameters. `parckit list` reads the file instead. A test
compares the file with the models.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import timm

from parckit.measure import cost
from parckit.models import build_on_meta, preprocessing_of

CATALOGUE = Path(__file__).with_name("catalogue.json")

_FROM_TIMM = {
    "mobilevit_xs": "arXiv:2110.02178",
    "mobilevit_s": "arXiv:2110.02178",
    "convnext_atto": "arXiv:2201.03545",
    "convnext_femto": "arXiv:2201.03545",
    "convnext_pico": "arXiv:2201.03545",
    "convnext_nano": "arXiv:2201.03545",
    "resnet10t": "arXiv:1512.03385",
    "resnet50": "arXiv:1512.03385",
    "mobilenetv2_100": "arXiv:1801.04381",
}
"""timm's models in the catalogue -> their papers, which timm does not name. ParC hybrids exist of some of them."""

_PAPERS = {
    "arXiv:1512.03385": ("ResNet", "CVPR 2016"),
    "arXiv:1801.04381": ("MobileNetV2", "CVPR 2018"),
    "arXiv:2110.02178": ("MobileViT", "ICLR 2022"),
    "arXiv:2201.03545": ("ConvNeXt", "CVPR 2022"),
    "arXiv:2203.03952": ("ParC-Net", "ECCV 2022"),
    "arXiv:2205.03436": ("EdgeViT", "ECCV 2022"),
    "arXiv:2211.07157": ("ParCNetV2", "ICCV 2023"),
}
"""Paper -> the name of its models, and the venue. The configuration of a model has only the arXiv number."""


def describe_models() -> list[dict[str, object]]:
    """Describe all models of the catalogue, sorted by family and number of parameters. Models for tests come last.

    Returns:
        One row per model:
        model: name in timm's registry.
        family: name of the models of its paper.
        size: [height, width] of the model's images, pixels.
        params: number of learned numbers.
        madds: multiply-adds for one image of that size.
        paper: venue and arXiv number.
        licence: licence of the official weights; empty if there are none.
    """
    ours = {name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("parckit.")}
    rows = [_describe(name) for name in sorted(ours | _FROM_TIMM.keys())]
    return sorted(rows, key=lambda row: (str(row["model"]).startswith("test_"), row["family"], row["params"]))


def _describe(name: str) -> dict[str, object]:
    model = build_on_meta(name)
    size = preprocessing_of(model).size
    counts = cost.count(model, size=size)
    config = cast("Mapping[str, str | None]", model.pretrained_cfg)
    paper = _FROM_TIMM.get(name) or config.get("paper_ids") or ""
    family, venue = _PAPERS[paper]
    return {
        "model": name,
        "family": family,
        "size": list(size),
        "params": counts.params,
        "madds": counts.madds,
        "paper": f"{venue}, {paper}",
        "licence": config.get("license") or "",
    }


if __name__ == "__main__":
    CATALOGUE.write_text(json.dumps(describe_models(), indent=1) + "\n", encoding="utf-8")
