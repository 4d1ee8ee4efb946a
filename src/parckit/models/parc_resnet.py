"""ParC-ResNet-50, made of timm's ResNet-50.

Source: Zhang, Hu, Wang, "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer", ECCV
2022, arXiv:2203.03952. The operator is dense within each half of the channels here, as the 3x3 it stands in for.
"""

import re
from typing import cast

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import ResNet

from parckit.models.parcifying import build_hybrid

default_cfgs = generate_default_cfgs(
    {
        "parc_resnet50.untrained": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "conv1",
            "classifier": "fc",
            "paper_ids": "arXiv:2203.03952",
            "paper_name": "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer",
            "origin_url": "https://github.com/hkzhang91/ParC-Net",
            "license": "none stated",
        }
    }
)


@register_model
def parc_resnet50(pretrained: bool = False, **kwargs: object) -> ResNet:
    """ParC-ResNet-50, 23.7 M parameters: timm's `resnet50` with ParC in the last blocks of its last two stages."""
    model = build_hybrid(
        "parc_resnet50",
        "resnet50",
        pretrained,
        stages={2: 3, 3: 1},
        position_embedding="every",
        feature_cfg={},
        **kwargs,
    )
    return cast("ResNet", model)


_OFFICIAL_NAMES = (
    (r"\.parc_H\.gcc_conv\.", ".conv2.height."),
    (r"\.parc_W\.gcc_conv\.", ".conv2.width."),
    (r"\.parc_H\.pe$", ".conv2.pe_height.weight"),
    (r"\.parc_W\.pe$", ".conv2.pe_width.weight"),
)


def rename_official_key(key: str) -> str:
    """Return our name of an official state-dict key; there are no aliases."""
    for pattern, replacement in _OFFICIAL_NAMES:
        key = re.sub(pattern, replacement, key)
    return key
