"""ParC-Net: a MobileViT-like backbone whose global mixing is circular convolution.

Source: Zhang, Hu, Wang, "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer",
ECCV 2022, arXiv:2203.03952. Widths and wiring are such that our models give the outputs of the official models, even
where the paper says otherwise; the official code was not read. Unlike the official models, ours take every height and
width.

Stages 3 to 5 each consist of an inverted residual (stride 2) and a `ParCStage`:
    local = 1x1(3x3(x)); mixed = 1x1(BN(ParC blocks(local))); out = 3x3(fusion(mixed, x))
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import cast, final

from jaxtyping import Float
from timm.layers import ClassifierHead, calculate_drop_path_rates
from timm.models import generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from parckit.layers import ConvNormSiLU, Fusion, InvertedResidual, ParCStage
from parckit.models.registered import build_registered
from parckit.models.staged import StagedBackbone, check_img_size, reset_parameters

_LOCAL_DEPTHS = (0, 2)
"""Inverted residuals after the first one in stages 1 and 2, the same in every official variant."""


@final
class ParCNet(StagedBackbone):
    """ParC-Net backbone and classifier (ParC-Net, section 3.3).

    Args:
        dims: widths of the stem and the five stages.
        inner_dims: widths inside the three ParC stages.
        hidden_dims: feed-forward widths inside the three ParC stages.
        depths: ParC blocks in each of the three ParC stages.
        fusion: how a ParC stage joins its global result and its input.
        stem_kernel_size: side of the stem's kernel, pixels.
        stem_stride: 2, or 1 for images of about 32 pixels, which halves every stride of the network.
        img_size: side of the images, pixels, for which kernels and embeddings are learned; for images of other sizes,
            both are interpolated.
        in_chans: channels of the image.
        num_classes: 0 gives pooled features.
        global_pool: `"avg"`, or `""` for the unpooled map (with `num_classes=0`).
        output_stride: 32, 16 or 8, the largest stride of the network. All later strides become 1. As in the official
            models, only the depthwise 3x3 convolutions after a removed stride are dilated.
        drop_rate: dropout before the classifier.
        block_drop_rate: dropout at the end of each feed-forward net.
        drop_path_rate: probability of dropping the last ParC block's residual branches; grows linearly from 0.

    Training needs batches of two or more images: the BatchNorms of the gates get one value per channel and image.

    Raises:
        ValueError: if `output_stride` or `stem_stride` is unknown, or `img_size` is not a positive whole number.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes), any H and W
    """

    def __init__(
        self,
        *,
        dims: Sequence[int],
        inner_dims: Sequence[int],
        hidden_dims: Sequence[int],
        depths: Sequence[int],
        fusion: Fusion = "concat",
        stem_kernel_size: int = 3,
        stem_stride: int = 2,
        img_size: int = 256,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.2,
        block_drop_rate: float = 0.1,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans=in_chans)
        check_img_size(img_size)
        self.stem = ConvNormSiLU(in_chans, dims[0], stem_kernel_size, stride=stem_stride)
        # The kernels' lengths do not depend on `output_stride`: the same weights fit every output stride.
        lengths = [math.ceil(img_size / (4 * stem_stride * 2**stage)) for stage in range(len(depths))]
        path_rates = cast("list[list[float]]", calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True))
        parc_stage = partial(ParCStage, fusion=fusion, drop_rate=block_drop_rate)
        parc_stages = [
            partial(parc_stage, inner_dim=inner_dim, hidden_dim=hidden_dim, length=length, drop_path_rates=rates)
            for inner_dim, hidden_dim, length, rates in zip(inner_dims, hidden_dims, lengths, path_rates, strict=True)
        ]
        self.stages = self._make_stages(
            dims, strides=_plan_strides(stem_stride, output_stride), parc_stages=parc_stages
        )
        # Four times the last width, at most 960: the official rule.
        self.num_features = self.head_hidden_size = min(4 * dims[-1], 960)
        self.final_conv = ConvNormSiLU(dims[-1], self.num_features, 1)
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.apply(_init_weights)

    def _make_stages(
        self,
        dims: Sequence[int],
        *,
        strides: Sequence[tuple[int, int, int]],
        parc_stages: Sequence[Callable[[int], ParCStage]],
    ) -> nn.Sequential:
        """Return the five stages, and note what features they give.

        A stage is an inverted residual that may stride, then more of them (stages 1 and 2) or a ParC stage (3 to 5).
        """
        stages: list[nn.Sequential] = []
        for i, (stride, dilation, reduction) in enumerate(strides):
            dim = dims[i + 1]
            down = InvertedResidual(dims[i], dim, stride=stride, dilation=dilation)
            if i < len(_LOCAL_DEPTHS):
                rest = [InvertedResidual(dim, dim) for _ in range(_LOCAL_DEPTHS[i])]
            else:
                rest = [parc_stages[i - len(_LOCAL_DEPTHS)](dim)]
            stages.append(nn.Sequential(down, *rest))
            self.feature_info.append({"num_chs": dim, "reduction": reduction, "module": f"stages.{i}"})
        return nn.Sequential(*stages)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return the patterns that put parameters into layer groups, for layer-wise learning rates."""
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"
        return {"stem": r"^stem", "blocks": [(blocks, None), (r"^final_conv", (99999,))]}

    def forward_stem(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Run the stem, which shrinks the images by `stem_stride`."""
        return self.stem(x)

    def forward_final(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Widen the last map."""
        return self.final_conv(x)

    def forward_feature(self, x: Float[Tensor, "b c h w"], index: int, *, norm: bool) -> Float[Tensor, "b c h w"]:
        """Return the map unchanged, because every stage ends with a norm."""
        del index, norm
        return x

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
        if prune_norm or prune_head:
            self.final_conv = nn.Identity()
            self.reset_classifier(0, "")
        return selected


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _plan_strides(stem_stride: int, output_stride: int) -> list[tuple[int, int, int]]:
    """Return (stride, dilation, reduction) of the first block in each of the five stages.

    Dilation is for the block's depthwise convolution; reduction is the stride from the image to the block's output.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride={output_stride}: choose from 8, 16, 32")
    if stem_stride not in (1, 2):
        raise ValueError(f"stem_stride={stem_stride}: choose from 1, 2")
    plan = [(1, 1, stem_stride), (2, 1, 2 * stem_stride)]
    reduction, dilation = 2 * stem_stride, 1
    for _ in range(3):
        stride = 2 if 2 * reduction <= output_stride else 1
        reduction *= stride
        plan.append((stride, dilation, reduction))
        dilation = dilation * 2 // stride
    return plan


PARCNET_SOURCE = {
    "paper_ids": "arXiv:2203.03952",
    "paper_name": "ParC-Net: Position Aware Circular Convolution with Merits from ConvNets and Transformer",
    "origin_url": "https://github.com/hkzhang91/ParC-Net",
    "license": "none stated",
}
"""Entries of a `pretrained_cfg` that say where ParC-Net and its hybrids come from."""


def _cfg(**kwargs: object) -> dict[str, object]:
    # The official evaluation resizes the shorter side to 288 and crops 256 x 256; it divides values by 255 and uses
    # neither mean nor std.
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 256, 256),
        "pool_size": (8, 8),
        "crop_pct": 256 / 288,
        "interpolation": "bilinear",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        **PARCNET_SOURCE,
        **kwargs,
    }


_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

default_cfgs = generate_default_cfgs(
    {
        # Trained by this project with the recipe classify/cifar10_parcnet_xs.
        "parcnet_xs.cifar10": _cfg(
            file=str(files("parckit") / "weights" / "parcnet_xs.cifar10.safetensors"),
            num_classes=10,
            label_names=_CIFAR10,
            input_size=(3, 32, 32),
            pool_size=(4, 4),
            crop_pct=1.0,
            interpolation="bicubic",
            mean=(0.4913, 0.4821, 0.4465),
            std=(0.2452, 0.2428, 0.2606),
            origin_url=None,
            license="Apache-2.0",
        ),
        # The star marks the default: the name `parcnet_xs` without a tag means this entry.
        "parcnet_xs.untrained*": _cfg(),
        "parcnet_s.untrained": _cfg(),
        "parcnet_h.untrained": _cfg(),
        "parcnet_xxs.untrained": _cfg(input_size=(3, 32, 32), pool_size=(2, 2), crop_pct=1.0, license=None),
        "test_parcnet.untrained": _cfg(input_size=(3, 64, 64), pool_size=(2, 2), crop_pct=1.0, license=None),
    }
)

_KWARGS_OF_TAG = {"cifar10": {"img_size": 32, "stem_stride": 1, "output_stride": 8}}
"""Tag of pretrained weights -> model keywords with which they were trained."""


def _create(variant: str, pretrained: bool, **kwargs: object) -> ParCNet:
    feature_cfg = {"out_indices": (0, 1, 2, 3, 4), "flatten_sequential": True}
    numbers = _KWARGS_OF_TAG.get(str(kwargs.get("pretrained_cfg")), {}) | kwargs
    return build_registered(ParCNet, variant, pretrained, feature_cfg=feature_cfg, **numbers)


@register_model
def parcnet_xs(pretrained: bool = False, **kwargs: object) -> ParCNet:
    """ParC-Net-XS, 2.2 M parameters."""
    numbers = {
        "dims": (16, 32, 64, 96, 128, 160),
        "inner_dims": (96, 128, 160),
        "hidden_dims": (192, 256, 320),
        "depths": (2, 3, 2),
        "fusion": "add",
    }
    return _create("parcnet_xs", pretrained, **numbers | kwargs)


@register_model
def parcnet_s(pretrained: bool = False, **kwargs: object) -> ParCNet:
    """ParC-Net-S, 5.0 M parameters."""
    numbers = {
        "dims": (16, 32, 64, 96, 128, 160),
        "inner_dims": (192, 256, 320),
        "hidden_dims": (384, 512, 640),
        "depths": (2, 4, 3),
    }
    return _create("parcnet_s", pretrained, **numbers | kwargs)


@register_model
def parcnet_h(pretrained: bool = False, **kwargs: object) -> ParCNet:
    """ParC-Net-H, 20.4 M parameters."""
    numbers = {
        "dims": (48, 96, 144, 216, 288, 432),
        "inner_dims": (324, 432, 432),
        "hidden_dims": (648, 864, 864),
        "depths": (3, 9, 3),
        "stem_kernel_size": 5,
    }
    return _create("parcnet_h", pretrained, **numbers | kwargs)


@register_model
def parcnet_xxs(pretrained: bool = False, **kwargs: object) -> ParCNet:
    """ParC-Net-XXS, 0.8 M parameters: parckit's smallest variant, for images of about 32 pixels."""
    numbers = {
        "dims": (16, 24, 40, 56, 72, 96),
        "inner_dims": (56, 72, 96),
        "hidden_dims": (112, 144, 192),
        "depths": (1, 2, 1),
        "fusion": "add",
        "stem_stride": 1,
        "img_size": 32,
    }
    return _create("parcnet_xxs", pretrained, **numbers | kwargs)


@register_model
def test_parcnet(pretrained: bool = False, **kwargs: object) -> ParCNet:
    """A ParC-Net for tests: it has every part of the family and is as small as possible."""
    numbers = {
        "dims": (8, 8, 12, 16, 16, 24),
        "inner_dims": (16, 24, 24),
        "hidden_dims": (32, 32, 48),
        "depths": (1, 2, 1),
        "img_size": 64,
    }
    return _create("test_parcnet", pretrained, **numbers | kwargs)


OFFICIAL_INPUT = {"channel_order": "bgr", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "crop_pct": 256 / 288}
"""The input of the official checkpoints: OpenCV's channel order, value / 255, shorter side at 288, a crop of 256."""

OFFICIAL_NAMES = (
    (r"^conv_1\.", "stem."),
    (r"^conv_1x1_exp\.", "final_conv."),
    (r"^classifier\.", "head."),
    (r"^layer_(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
    (r"\.block\.exp_1x1\.", ".expand."),
    (r"\.block\.conv_3x3\.", ".depthwise."),
    (r"\.block\.red_1x1\.", ".project."),
    (r"\.dim_adaptive\.0\.", ".local."),
    (r"\.dim_adaptive\.1\.block\.conv\.", ".embed."),
    (r"\.channel_adaptive\.", ".project."),
    (r"\.local_global_fusion\.", ".fusion_conv."),
    (r"\.spatial_global_rep\.\d+\.(weight|bias|running_\w+|num_batches_tracked)$", r".norm.\1"),
    (r"\.spatial_global_rep\.", ".blocks."),
    (r"\.pre_Norm_1\.", ".height_first.norm."),
    (r"\.pre_Norm_2\.", ".width_first.norm."),
    (r"\.meta_(kernel|pe)_(1_H|2_W)$", r".height_first.\1_\2"),
    (r"\.meta_(kernel|pe)_(1_W|2_H)$", r".width_first.\1_\2"),
    (r"\.kernel_(\d)_\w$", r".conv\1.weight"),
    (r"\.pe_(\d)_\w$", r".pe\1.weight"),
    (r"\.ffn\.0\.", ".ffn.norm."),
    (r"\.ffn\.1\.", ".ffn.conv1."),
    (r"\.ffn\.4\.", ".ffn.conv2."),
    (r"\.ca\.fc\.0\.", ".gate.conv1."),
    (r"\.ca\.fc\.1\.", ".gate.norm1."),
    (r"\.ca\.fc\.3\.", ".gate.conv2."),
    (r"\.ca\.fc\.4\.", ".gate.norm2."),
    (r"\.block\.conv\.", ".conv."),
    (r"\.block\.norm\.", ".bn."),
)
"""(pattern, replacement) pairs that turn official keys into ours, applied in this order."""

OFFICIAL_ALIASES = ("residual.",)
"""Prefixes of keys that are second copies: the official model stores `layer_5.0` under two attributes."""
