"""ParC-ResNets, made from timm's ResNet-50 and ResNet-10-T.

Source: Zhang, Hu, Wang, "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer", ECCV
2022, arXiv:2203.03952. Here ParC is dense within each half of the channels, because it replaces dense 3x3
convolutions.
"""

from typing import cast

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import ResNet

from parckit.models.parcifying import build_hybrid, hybrid_cfg, official_parc_names

default_cfgs = generate_default_cfgs(
    {
        "parc_resnet50.untrained": hybrid_cfg(first_conv="conv1", classifier="fc"),
        "parc_resnet10t.untrained": hybrid_cfg(
            first_conv="conv1.0", classifier="fc", license=None, input_size=(3, 176, 176), pool_size=(6, 6)
        ),
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


@register_model
def parc_resnet10t(pretrained: bool = False, **kwargs: object) -> ResNet:
    """ParC-ResNet-10-T, 3.6 M parameters: timm's `resnet10t` with ParC in the last block of its last two stages.

    The paper does not have it. With few `channels`, it is a network that a CPU trains in minutes.
    """
    model = build_hybrid(
        "parc_resnet10t",
        "resnet10t",
        pretrained,
        stages={2: 1, 3: 1},
        position_embedding="every",
        feature_cfg={},
        **kwargs,
    )
    return cast("ResNet", model)


OFFICIAL_NAMES = official_parc_names("parc", ours="conv2")
"""(pattern, replacement) pairs that turn official keys into ours, applied in this order."""
