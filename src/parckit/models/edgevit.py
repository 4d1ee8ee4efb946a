"""EdgeViT: convolutions mix nearby positions, attention among sampled tokens mixes the whole map. Also with ParC.

Source: Pan et al., "EdgeViTs: Competing Light-weight CNNs on Mobile Devices with Vision Transformers", ECCV 2022,
arXiv:2205.03436. Our models give the outputs of the official models, which fix the image size when they are built.
Here every height and width works: incomplete patches at the right and at the bottom are padded with zeros. (The
official models also run if a side is 1 to 3 pixels longer than a multiple of 32, but they drop those pixels.)

`parc_edgevit_xs`: the ParC-Net paper (arXiv:2203.03952) names such a hybrid but gives neither code nor results. As in
the authors' other hybrids, only the last two stages change: `ParCMixer` replaces all their attention. It consists of
the ParC operator of those hybrids (depthwise, with embeddings) and a projection. ParC samples no tokens, so the
propagation and its norm are left out.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast, final, get_args

from jaxtyping import Float
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from parckit.layers import EdgeViTBlock, ParCMixer, PatchEmbedding, SparseAttention
from parckit.models.parcnet import PARCNET_SOURCE
from parckit.models.registered import build_registered
from parckit.models.staged import StagedBackbone, check_img_size, reset_parameters

Mixer = Literal["attention", "parc"]

_PATCH_SIZES = (4, 2, 2, 2)
"""Stride of the patch embedding before each stage, the same in every official variant."""

_RATIOS = (4, 2, 2, 1)
"""Side of the windows from which attention samples one token, in each stage of every official variant."""


@final
class EdgeViT(StagedBackbone):
    """EdgeViT backbone and classifier (EdgeViT, section 3).

    Args:
        dims: widths of the four stages.
        depths: blocks in each stage.
        head_dim: width of an attention head; it must divide the widths of all stages with attention.
        mixers: the global mixer of each stage.
        img_size: side of the images, pixels, for which ParC stages learn kernels and embeddings; for images of other
            sizes, both are interpolated.
        in_chans: channels of the image.
        num_classes: 0 gives pooled features.
        global_pool: `"avg"`, or `""` for the unpooled map (with `num_classes=0`).
        drop_rate: dropout before the classifier.
        drop_path_rate: probability of dropping the last block's residual branches; grows linearly from 0.

    Raises:
        ValueError: if a mixer is unknown, `head_dim` does not divide the width of a stage with attention, or `img_size`
            is not a positive whole number.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes), any H and W
    """

    def __init__(
        self,
        *,
        dims: Sequence[int],
        depths: Sequence[int],
        head_dim: int,
        mixers: Sequence[Mixer] = ("attention",) * 4,
        img_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans=in_chans)
        check_img_size(img_size)
        _check_mixers(mixers, dims=dims, head_dim=head_dim)
        path_rates = cast("list[list[float]]", calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True))
        stages: list[nn.Sequential] = []
        # Stride from the image to the last map so far, and channels of that map.
        reduction, width = 1, in_chans
        for i, (dim, patch_size, ratio) in enumerate(zip(dims, _PATCH_SIZES, _RATIOS, strict=True)):
            reduction *= patch_size
            # A stage: patch embedding, then blocks.
            stage = nn.Sequential(PatchEmbedding(width, dim, size=patch_size))
            for rate in path_rates[i]:
                if mixers[i] == "parc":
                    mixer = ParCMixer(dim, length=math.ceil(img_size / reduction))
                else:
                    mixer = SparseAttention(dim, num_heads=dim // head_dim, ratio=ratio)
                stage.append(EdgeViTBlock(dim, mixer, with_local=ratio > 1, drop_path_rate=rate))
            stages.append(stage)
            self.feature_info.append({"num_chs": dim, "reduction": reduction, "module": f"stages.{i}"})
            width = dim
        self.stages = nn.Sequential(*stages)
        self.num_features = self.head_hidden_size = width
        self.norm = nn.BatchNorm2d(width)
        self.head = ClassifierHead(width, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.apply(_init_weights)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return the patterns that put parameters into layer groups, for layer-wise learning rates."""
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"
        return {"stem": r"^stages\.0\.0\.", "blocks": [(blocks, None), (r"^norm", (99999,))]}

    def forward_stem(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the images unchanged: the first stage begins with a patch embedding."""
        return x

    def forward_final(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Normalise the last map."""
        return self.norm(x)

    def forward_feature(self, x: Float[Tensor, "b c h w"], index: int, *, norm: bool) -> Float[Tensor, "b c h w"]:
        """Return the map; with `norm`, the last stage's map goes through the final norm."""
        return self.norm(x) if norm and index == len(self.feature_info) - 1 else x

    def init_weights(self) -> None:
        """Draw all weights anew, as the constructor does."""
        reset_parameters(self)
        self.apply(_init_weights)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove everything after the last selected stage; return the indices of the selected stages."""
        selected, last = feature_take_indices(len(self.stages), indices)
        if prune_norm or last < len(self.stages) - 1:
            self.norm = nn.Identity()
        self.stages = self.stages[: last + 1]
        if prune_head:
            self.reset_classifier(0, "")
        return selected


def _check_mixers(mixers: Sequence[str], *, dims: Sequence[int], head_dim: int) -> None:
    if len(mixers) != len(dims) or not {*mixers} <= {*get_args(Mixer)}:
        raise ValueError(f"mixers={mixers!r}: give one of {', '.join(get_args(Mixer))} for each of {len(dims)} stages")
    widths = [dim for dim, mixer in zip(dims, mixers, strict=True) if mixer == "attention"]
    if head_dim < 1 or any(dim % head_dim for dim in widths):
        raise ValueError(f"head_dim={head_dim}: must divide the widths of the stages with attention, {widths}")


def _init_weights(module: nn.Module) -> None:
    # As in the official models, convolutions keep torch's default initialisation.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _cfg(**kwargs: object) -> dict[str, object]:
    # The official evaluation resizes the shorter side to 256 and crops 224 x 224.
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 224 / 256,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stages.0.0.proj",
        "classifier": "head.fc",
        "paper_ids": "arXiv:2205.03436",
        "paper_name": "EdgeViTs: Competing Light-weight CNNs on Mobile Devices with Vision Transformers",
        "origin_url": "https://github.com/saic-fi/edgevit",
        "license": "apache-2.0",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        "edgevit_xxs.untrained": _cfg(),
        "edgevit_xs.untrained": _cfg(),
        "edgevit_s.untrained": _cfg(),
        # The hybrid has neither official weights nor official code, so it has no licence.
        "parc_edgevit_xs.untrained": _cfg(**{**PARCNET_SOURCE, "license": None}),
        "test_edgevit.untrained": _cfg(input_size=(3, 64, 64), pool_size=(2, 2), crop_pct=1.0, license=None),
    }
)


def _create(variant: str, pretrained: bool, **kwargs: object) -> EdgeViT:
    feature_cfg = {"out_indices": (0, 1, 2, 3), "flatten_sequential": True}
    return build_registered(EdgeViT, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def edgevit_xxs(pretrained: bool = False, **kwargs: object) -> EdgeViT:
    """EdgeViT-XXS, 4.1 M parameters."""
    numbers = {"dims": (36, 72, 144, 288), "depths": (1, 1, 3, 2), "head_dim": 36}
    return _create("edgevit_xxs", pretrained, **numbers | kwargs)


@register_model
def edgevit_xs(pretrained: bool = False, **kwargs: object) -> EdgeViT:
    """EdgeViT-XS, 6.8 M parameters."""
    numbers = {"dims": (48, 96, 240, 384), "depths": (1, 1, 3, 1), "head_dim": 48}
    return _create("edgevit_xs", pretrained, **numbers | kwargs)


@register_model
def edgevit_s(pretrained: bool = False, **kwargs: object) -> EdgeViT:
    """EdgeViT-S, 13.1 M parameters."""
    numbers = {"dims": (48, 96, 240, 384), "depths": (1, 2, 5, 3), "head_dim": 48}
    return _create("edgevit_s", pretrained, **numbers | kwargs)


@register_model
def parc_edgevit_xs(pretrained: bool = False, **kwargs: object) -> EdgeViT:
    """EdgeViT-XS with circular convolution instead of attention in the last two stages, 5.8 M parameters."""
    numbers = {
        "dims": (48, 96, 240, 384),
        "depths": (1, 1, 3, 1),
        "head_dim": 48,
        "mixers": ("attention", "attention", "parc", "parc"),
    }
    return _create("parc_edgevit_xs", pretrained, **numbers | kwargs)


@register_model
def test_edgevit(pretrained: bool = False, **kwargs: object) -> EdgeViT:
    """An EdgeViT for tests: it has every part of the family and is as small as possible."""
    numbers = {
        "dims": (8, 16, 24, 32),
        "depths": (1, 1, 2, 1),
        "head_dim": 8,
        "mixers": ("attention", "attention", "parc", "attention"),
        "img_size": 64,
    }
    return _create("test_edgevit", pretrained, **numbers | kwargs)


OFFICIAL_NAMES = (
    (r"^patch_embed(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.0."),
    (r"^blocks(\d)\.(\d+)\.", lambda match: f"stages.{int(match[1]) - 1}.{int(match[2]) + 1}."),
    (r"^head\.", "head.fc."),
    (r"\.LocalAgg\.attn\.", ".local_mix.depthwise."),
    (r"\.LocalAgg\.", ".local_mix."),
    (r"\.SelfAttn\.attn\.LocalProp\.", ".global_mix.mixer.propagate.conv."),
    (r"\.SelfAttn\.attn\.norm\.", ".global_mix.mixer.propagate.norm."),
    (r"\.SelfAttn\.attn\.", ".global_mix.mixer."),
    (r"\.SelfAttn\.", ".global_mix."),
    (r"\.pos_embed\.", ".position."),
)
"""(pattern, replacement) pairs that turn official keys into ours, applied in this order."""
