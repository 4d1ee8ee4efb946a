"""ParC-MobileNetV2, made from timm's MobileNetV2.

Source: Zhang, Hu, Wang, "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer", ECCV
2022, arXiv:2203.03952.
"""

from typing import cast

from timm.models import generate_default_cfgs, register_model
from timm.models.efficientnet import EfficientNet

from parckit.models.parcifying import build_hybrid, hybrid_cfg, official_parc_names

default_cfgs = generate_default_cfgs(
    {"parc_mobilenetv2.untrained": hybrid_cfg(first_conv="conv_stem", classifier="classifier")}
)


@register_model
def parc_mobilenetv2(pretrained: bool = False, **kwargs: object) -> EfficientNet:
    """ParC-MobileNetV2, 3.5 M parameters: timm's `mobilenetv2_100` with ParC in the last blocks of stages 3 to 5.

    Only the first ParC operator of each stage has embeddings. The official model trains with `drop_rate=0.2`.
    """
    model = build_hybrid(
        "parc_mobilenetv2",
        "mobilenetv2_100",
        pretrained,
        stages={3: 2, 4: 1, 5: 1},
        position_embedding="first",
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )
    return cast("EfficientNet", model)


_DEPTHS = (1, 2, 3, 4, 3, 3, 1)
_BLOCKS = [f"blocks.{stage}.{block}." for stage, depth in enumerate(_DEPTHS) for block in range(depth)]
"""Prefixes of our blocks, in order. The official model numbers all blocks from 1, without stages."""

OFFICIAL_NAMES = (
    (r"^classifier\.1\.", "classifier."),
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.18\.0\.", "conv_head."),
    (r"^features\.18\.1\.", "bn2."),
    (r"^features\.1\.conv\.0\.0\.", "features.1.conv_dw."),
    (r"^features\.1\.conv\.1\.", "features.1.conv_pw."),
    (r"^features\.1\.conv\.2\.", "features.1.bn2."),
    *((rf"^features\.{number}\.", block) for number, block in enumerate(_BLOCKS, start=1)),
    (r"\.conv\.0\.0\.|\.pw_expand\.0\.", ".conv_pw."),
    (r"\.conv\.0\.1\.|\.pw_expand\.1\.", ".bn1."),
    (r"\.conv\.1\.0\.", ".conv_dw."),
    (r"\.conv\.1\.1\.|\.bn\.", ".bn2."),
    (r"\.conv\.2\.|\.pw_linear\.0\.", ".conv_pwl."),
    (r"\.conv\.3\.|\.pw_linear\.1\.", ".bn3."),
    *official_parc_names("gcc", ours="conv_dw"),
)
"""(pattern, replacement) pairs that turn official keys into ours, applied in this order."""
