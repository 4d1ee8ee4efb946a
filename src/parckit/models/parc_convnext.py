"""ConvNeXt-XT, and ParC-ConvNeXt-XT, which is made from it.

Sources: Zhang, Hu, Wang, "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer",
ECCV 2022, arXiv:2203.03952; Liu et al., "A ConvNet for the 2020s", CVPR 2022, arXiv:2201.03545. The class is
timm's `ConvNeXt`.
"""

from typing import cast

from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt

from parckit.models.parcifying import build_hybrid, hybrid_cfg, official_parc_names
from parckit.models.registered import build_registered

_FEATURES = {"out_indices": (0, 1, 2, 3), "flatten_sequential": True}

_LAYERS = {"first_conv": "stem.0", "classifier": "head.fc"}

default_cfgs = generate_default_cfgs(
    {
        # ParC-Net's authors trained this size; ConvNeXt's authors published no weights for it.
        "convnext_xt.untrained": hybrid_cfg(
            paper_ids="arXiv:2201.03545", paper_name="A ConvNet for the 2020s", **_LAYERS
        ),
        "parc_convnext_xt.untrained": hybrid_cfg(**_LAYERS),
    }
)


@register_model
def convnext_xt(pretrained: bool = False, **kwargs: object) -> ConvNeXt:
    """ConvNeXt-XT, 7.4 M parameters: half as wide as ConvNeXt-T. ParC-ConvNeXt-XT is made from it."""
    numbers = {"depths": (3, 3, 9, 3), "dims": (48, 96, 192, 384)}
    return build_registered(ConvNeXt, "convnext_xt", pretrained, feature_cfg=_FEATURES, **numbers | kwargs)


@register_model
def parc_convnext_xt(pretrained: bool = False, **kwargs: object) -> ConvNeXt:
    """ParC-ConvNeXt-XT, 7.4 M parameters: ConvNeXt-XT with ParC in the last blocks of its last two stages."""
    model = build_hybrid(
        "parc_convnext_xt",
        "convnext_xt",
        pretrained,
        stages={2: 3, 3: 1},
        position_embedding="every",
        feature_cfg=_FEATURES,
        **kwargs,
    )
    return cast("ConvNeXt", model)


OFFICIAL_NAMES = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
    (r"\.dwconv\.", ".conv_dw."),
    *official_parc_names("gcc", ours="conv_dw"),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
)
"""(pattern, replacement) pairs that turn official keys of both models into ours, applied in this order."""
