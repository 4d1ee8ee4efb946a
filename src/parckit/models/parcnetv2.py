"""ParCNetV2: a convolutional backbone with oversized kernels and gates.

Source: Xu, Zhang, Hu, Zhang, Wang, "ParCNetV2: Oversized Kernel with Enhanced Attention", ICCV 2023, arXiv:2211.07157.
Our models give the outputs of the official models. All maps are NCHW, and linear layers are 1x1 convolutions.

stem (stride 4) -> 4 stages of [downsampling,] blocks -> mean -> LayerNorm -> linear
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import cast, final

from jaxtyping import Float
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import NormMlpClassifierHead, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from parckit.layers import AxisConv2d, CenteredL2Norm2d, ParCV2Block, ParCV2Downsample, ParCV2Stem
from parckit.models.registered import build_registered
from parckit.models.staged import StagedBackbone, check_img_size, reset_parameters

_STRIDES = (4, 8, 16, 32)
"""Strides from the image to the map of each stage, the same in every official variant."""

_SCALED_SKIPS_FROM = 2
"""Index of the first stage whose skips have learned factors, the same in every official variant."""


@final
class ParCNetV2(StagedBackbone):
    """ParCNetV2 backbone and classifier (ParCNetV2, section 3.4).

    Args:
        dims: widths of the four stages.
        depths: blocks of the four stages.
        img_size: side of the images, pixels, for which the oversized kernels are learned: they have just enough taps to
            cover the maps of such images.
        interpolate_kernels: resize the oversized kernels so that they cover every map. The default is the official
            code's: kernels keep their length and do not cover the maps of larger images. A model may be trained
            without interpolation and run with it.
        feature_norms: add a norm for the output of each stage, and leave out the classifier's norm, as the official
            detection and segmentation backbones do. The next stage still gets the output without the norm.
            `features_only` returns the normalised outputs, `forward_intermediates` does with `norm=True`. Weights are
            initialised as for a classifier.
        in_chans: channels of the image.
        num_classes: 0 gives pooled features.
        global_pool: `"avg"`, or `""` for the unpooled map (with `num_classes=0`).
        output_stride: 32, 16 or 8, the largest stride of the network. All later strides become 1. Nothing is dilated,
            because the kernels are oversized anyway; they keep the length that they have for 32.
        drop_rate: dropout before the classifier.
        drop_path_rate: probability of dropping the last block's residual branches; grows linearly from 0.

    Raises:
        ValueError: if `output_stride` is unknown, or `img_size` is not a positive whole number.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes), any H and W
    """

    def __init__(
        self,
        *,
        dims: Sequence[int],
        depths: Sequence[int],
        img_size: int = 224,
        interpolate_kernels: bool = False,
        feature_norms: bool = False,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans=in_chans)
        check_img_size(img_size)
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride={output_stride}: choose from 8, 16, 32")
        self.stem = ParCV2Stem(in_chans, dims[0])
        path_rates = cast("list[list[float]]", calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True))
        reductions = [min(native, output_stride) for native in _STRIDES]
        # Every stage but the first begins with downsampling.
        stages: list[nn.Sequential] = []
        for i, dim in enumerate(dims):
            # The kernels cover the map of an image of `img_size` at the native stride.
            length = 2 * math.ceil(img_size / _STRIDES[i]) - 1
            scaled = i >= _SCALED_SKIPS_FROM
            block = partial(ParCV2Block, dim, length, interpolate=interpolate_kernels, scale_skips=scaled)
            stage = nn.Sequential(*(block(drop_path_rate=rate) for rate in path_rates[i]))
            if i > 0:
                stage.insert(0, ParCV2Downsample(dims[i - 1], dim, stride=reductions[i] // reductions[i - 1]))
            stages.append(stage)
            self.feature_info.append({"num_chs": dim, "reduction": reductions[i], "module": f"stages.{i}"})
        self.stages = nn.Sequential(*stages)
        self.feature_norms = nn.ModuleList(CenteredL2Norm2d(dim) for dim in dims if feature_norms)
        self.num_features = self.head_hidden_size = dims[-1]
        # Official backbones with feature norms have no norm in front of the classifier.
        norm = nn.Identity if feature_norms else "layernorm2d"
        self.head = NormMlpClassifierHead(
            dims[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, norm_layer=norm
        )
        self.apply(_init_weights)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return the patterns that put parameters into layer groups, for layer-wise learning rates."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def forward_stem(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Embed overlapping patches."""
        return self.stem(x)

    def forward_final(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the map unchanged: the classifier's norm comes after pooling."""
        return x

    def forward_feature(self, x: Float[Tensor, "b c h w"], index: int, *, norm: bool) -> Float[Tensor, "b c h w"]:
        """Return the map; with `norm`, it goes through its feature norm.

        Raises:
            ValueError: if `norm` is true and the model has no feature norms.
        """
        if norm and not self.feature_norms:
            raise ValueError("norm=True: needs a model made with feature_norms=True")
        return self.feature_norms[index](x) if norm else x

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
        self.stages = self.stages[: last + 1]
        # Remove norms that would never run: they would get no gradient, and training on several devices would fail.
        norms = [] if prune_norm else list(self.feature_norms)[: last + 1]
        self.feature_norms = nn.ModuleList(norm if i in selected else nn.Identity() for i, norm in enumerate(norms))
        if prune_norm or prune_head:
            self.head.norm = nn.Identity()
            self.reset_classifier(0, "")
        return selected


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear | AxisConv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _cfg(**kwargs: object) -> dict[str, object]:
    # The input of the official checkpoints: the defaults of the library that trained them.
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        "paper_ids": "arXiv:2211.07157",
        "paper_name": "ParCNetV2: Oversized Kernel with Enhanced Attention",
        "origin_url": "https://github.com/XuRuihan/ParCNetV2",
        "license": "unknown",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        "parcnetv2_xt.untrained": _cfg(),
        "parcnetv2_tiny.untrained": _cfg(),
        "parcnetv2_small.untrained": _cfg(),
        "parcnetv2_base.untrained": _cfg(),
        "test_parcnetv2.untrained": _cfg(input_size=(3, 64, 64), pool_size=(2, 2), crop_pct=1.0, license=None),
    }
)


def _create(variant: str, pretrained: bool, **kwargs: object) -> ParCNetV2:
    # Feature norms are not on the path through the network. Only the getter finds them, since it calls the model's own
    # `forward_intermediates`.
    feature_cfg: dict[str, object] = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter", "flatten_sequential": True}
    if kwargs.get("feature_norms"):
        feature_cfg["norm"] = True
    return build_registered(ParCNetV2, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def parcnetv2_xt(pretrained: bool = False, **kwargs: object) -> ParCNetV2:
    """ParCNetV2-XT, 7.4 M parameters."""
    numbers = {"dims": (48, 96, 192, 320), "depths": (3, 3, 9, 2)}
    return _create("parcnetv2_xt", pretrained, **numbers | kwargs)


@register_model
def parcnetv2_tiny(pretrained: bool = False, **kwargs: object) -> ParCNetV2:
    """ParCNetV2-T, 24.9 M parameters."""
    numbers = {"dims": (64, 128, 320, 512), "depths": (3, 3, 12, 3)}
    return _create("parcnetv2_tiny", pretrained, **numbers | kwargs)


@register_model
def parcnetv2_small(pretrained: bool = False, **kwargs: object) -> ParCNetV2:
    """ParCNetV2-S, 39.4 M parameters."""
    numbers = {"dims": (64, 128, 320, 512), "depths": (3, 9, 24, 3)}
    return _create("parcnetv2_small", pretrained, **numbers | kwargs)


@register_model
def parcnetv2_base(pretrained: bool = False, **kwargs: object) -> ParCNetV2:
    """ParCNetV2-B, 56.4 M parameters."""
    numbers = {"dims": (96, 192, 384, 576), "depths": (3, 9, 24, 3)}
    return _create("parcnetv2_base", pretrained, **numbers | kwargs)


@register_model
def test_parcnetv2(pretrained: bool = False, **kwargs: object) -> ParCNetV2:
    """A ParCNetV2 for tests: it has every part of the family and is as small as possible."""
    numbers = {"dims": (8, 12, 16, 24), "depths": (1, 1, 2, 1), "img_size": 64}
    return _create("test_parcnetv2", pretrained, **numbers | kwargs)


OFFICIAL_NAMES = (
    # Our stages 1 to 3 begin with their downsampling, so their blocks are numbered from 1.
    (r"^stages\.([1-3])\.(\d+)\.", lambda match: f"stages.{match[1]}.{int(match[2]) + 1}."),
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.0."),
    (r"\.(pre|post)_norm\.", ".norm."),
    (r"\.token_mixer\.", ".mixer."),
    (r"\.pwconv1\.", ".expand."),
    (r"\.pwconv2\.", ".project."),
    (r"\.dwconv1\.conv_h\.", ".height."),
    (r"\.dwconv1\.conv_w\.", ".width."),
    (r"\.dwconv2\.", ".local."),
    (r"\.mlp\.fc1\.", ".gate.expand."),
    (r"\.mlp\.fc2\.", ".gate.project."),
    (r"\.res_scale(\d)\.scale$", r".skip\1.gamma"),
    (r"^norm(\d)\.", r"feature_norms.\1."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
"""(pattern, replacement) pairs that turn keys of official classifiers and dense backbones into ours, in this order."""
