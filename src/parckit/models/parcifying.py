"""ParC for any convolutional network of timm: `parcify(model)`, and the hybrids that are made by it.

ParC-Net's authors put their operator into ConvNeXt, ResNet-50 and MobileNetV2 in place of a few spatial convolutions on
the two smallest maps, and leave everything else as it was (Zhang et al., ECCV 2022, arXiv:2203.03952). Here that is one
mechanism in two steps: `plan_parc` finds the convolutions and says what would change, `apply_parc` exchanges them.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast, get_args

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import to_2tuple
from timm.models import PretrainedCfg, build_model_with_cfg, get_pretrained_cfg
from torch import nn

from parckit.contract import InputError
from parckit.layers import ParCConv2d
from parckit.models.build import check_size
from parckit.models.parcnet import PARCNET_SOURCE
from parckit.models.replaceable import Candidate, Survey, survey

PositionEmbeddings = Literal["every", "first", "none"]
AnyModel = TypeVar("AnyModel", bound=nn.Module)
Key = TypeVar("Key", bound=Hashable)
_LATE = (1, 3)
"""Convolutions replaced by default: the last one on the smallest maps, the last three on the next larger ones. Each of
the paper's hybrids has four ParC operators, in this proportion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """One convolution that becomes ParC.

    Attributes:
        name: name of the module in the model.
        stage: index of its stage; 0 is the first behind the stem.
        conv: what was there, such as `7x7 depthwise`.
        dim: channels in and out.
        groups: groups of ParC along the height and along the width.
        length: taps and positions of ParC along the height and the width: the size of the map.
        with_pe: whether ParC has position embeddings.
        params_before: parameters of the convolution.
        params_after: parameters of ParC.
        madds_before: multiply-adds of the convolution, for one image.
        madds_after: multiply-adds of ParC, for one image.
    """

    name: str
    stage: int
    conv: str
    dim: int
    groups: tuple[int, int]
    length: tuple[int, int]
    with_pe: bool
    params_before: int
    params_after: int
    madds_before: int
    madds_after: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParCReport:
    """What was replaced in a model.

    Attributes:
        size: height and width of the images that kernels and multiply-adds are for, pixels.
        replacements: one entry per convolution, in the model's order.
    """

    size: tuple[int, int]
    replacements: tuple[Replacement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcified(Generic[AnyModel]):
    """A model with ParC, and what was replaced in it."""

    model: AnyModel
    report: ParCReport


def parcify(
    model: AnyModel,
    *,
    stages: Mapping[int, int] | None = None,
    size: tuple[int, int] | None = None,
    position_embedding: PositionEmbeddings = "every",
) -> Parcified[AnyModel]:
    """Return a copy of a convolutional timm model with ParC in place of late spatial convolutions.

    What can be replaced: a convolution of 3x3 or larger that keeps the shape of its map. A depthwise one becomes
    depthwise ParC, a dense one is dense within each half of the channels, a grouped one keeps its groups. All other
    weights stay; the new ones are fresh, trainable also in a frozen model, and want training. The model given is not
    changed.

    Networks whose blocks have parallel branches (RepVGG, MobileOne, RepViT, FastViT) go through
    `timm.utils.reparameterize_model` first: afterwards timm could not merge the branches, and each of a block's twins
    would count as a convolution of its own. Where a block holds several convolutions (Res2Net, MixNet, VoVNet) the last
    ones may all be one block's; `stages` with a larger number reaches the others.

    Args:
        model: a whole timm model; of what comes back, `forward_intermediates` gives the features, and timm's
            `FeatureGetterNet` is a module that does.
        stages: stage index -> how many of its last convolutions to replace. Stages are counted from 0 behind the stem,
            as the model's `group_matcher(coarse=True)` groups its layers. By default the last convolution on the
            network's smallest maps and the last three on the next larger ones, the proportion of the paper's hybrids.
        size: (height, width) of the images, pixels, for which kernels and embeddings get their lengths; by default the
            size in the model's `pretrained_cfg`. Every other size works too, by interpolation.
        position_embedding: in `"every"` ParC operator, in the `"first"` of each stage, or in `"none"`.

    Raises:
        InputError: if nothing, or less than asked for, can be replaced; if the model has no stages or cannot take
            images of `size`; for arguments of other forms than these.
    """
    report = plan_parc(model, stages=stages, size=size, position_embedding=position_embedding)
    twin = copy.deepcopy(model)
    apply_parc(twin, report)
    return Parcified(model=twin, report=report)


def hybrid_cfg(**kwargs: object) -> dict[str, object]:
    """Return the `default_cfgs` entry of a hybrid; `kwargs` name its layers and say what is different."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        **PARCNET_SOURCE,
        **kwargs,
    }


def official_parc_names(theirs: str, *, ours: str) -> tuple[tuple[str, str], ...]:
    """Return the rules that turn official keys of ParC into ours.

    Args:
        theirs: what the official model calls its ParC operators, without the axis.
        ours: the module that ParC stands in for.
    """
    return (
        (rf"\.{theirs}_H\.gcc_conv\.", f".{ours}.height."),
        (rf"\.{theirs}_W\.gcc_conv\.", f".{ours}.width."),
        (rf"\.{theirs}_H\.pe$", f".{ours}.pe_height.weight"),
        (rf"\.{theirs}_W\.pe$", f".{ours}.pe_width.weight"),
    )


def build_hybrid(
    variant: str,
    twin: str,
    pretrained: bool,
    *,
    stages: Mapping[int, int],
    position_embedding: PositionEmbeddings,
    feature_cfg: Mapping[str, object],
    **kwargs: object,
) -> nn.Module:
    """Build a registered model that is another registered model with ParC; `img_size` sets its native lengths."""

    def build(*, img_size: int | tuple[int, int] | None = None, **options: object) -> nn.Module:
        if img_size is None:
            img_size = cast("PretrainedCfg", get_pretrained_cfg(variant)).input_size[1:]
        size = cast("tuple[int, int]", to_2tuple(img_size))
        # Planned at the full stride, so that weights fit every output_stride.
        native = {name: value for name, value in options.items() if name != "output_stride"}
        with torch.device("meta"):
            plain = timm.create_model(twin, **native)  # pyright: ignore[reportArgumentType]
        report = plan_parc(plain, stages=stages, size=size, position_embedding=position_embedding)
        model = timm.create_model(twin, **options)  # pyright: ignore[reportArgumentType]
        apply_parc(model, report)
        return model

    return build_model_with_cfg(build, variant, pretrained, feature_cfg=dict(feature_cfg), **kwargs)  # pyright: ignore[reportArgumentType]


def plan_parc(
    model: nn.Module,
    *,
    stages: Mapping[int, int] | None,
    size: tuple[int, int] | None,
    position_embedding: PositionEmbeddings,
) -> ParCReport:
    """Find what `parcify` would replace, without changing the model; arguments and errors are those of `parcify`."""
    if position_embedding not in get_args(PositionEmbeddings):
        raise InputError(f"position_embedding={position_embedding!r}: choose from {get_args(PositionEmbeddings)}")
    if stages is not None:
        _check_stages(stages)
    size = _own_size(model) if size is None else size
    check_size(size)
    found = survey(model, size)
    chosen = _late(found) if stages is None else _last_of(found.candidates, stages, size=size)
    replacements: list[Replacement] = []
    for candidate in chosen:
        first = all(candidate.stage != other.stage for other in replacements)
        with_pe = position_embedding == "every" or (position_embedding == "first" and first)
        replacements.append(_describe(candidate, with_pe=with_pe))
    return ParCReport(size=size, replacements=tuple(replacements))


def apply_parc(model: nn.Module, report: ParCReport) -> None:
    """Exchange the convolutions of a report in the model itself, under all names that they have in it."""
    for each in report.replacements:
        conv = cast("nn.Conv2d", model.get_submodule(each.name))
        parc = ParCConv2d(each.dim, each.length, groups=each.groups, with_pe=each.with_pe)
        parc = parc.to(conv.weight).train(conv.training)
        for name, module in [*model.named_modules(remove_duplicate=False)]:
            if module is conv:
                model.set_submodule(name, parc)


def _describe(candidate: Candidate, *, with_pe: bool) -> Replacement:
    conv, (height, width) = candidate.conv, candidate.size
    groups = (1, 1) if conv.groups == 1 else (math.ceil(conv.groups / 2), conv.groups // 2)
    per_group = conv.in_channels // sum(groups)
    # One column or row per channel, of the half that it belongs to.
    positions = per_group * (groups[0] * height + groups[1] * width)
    kinds = {1: "dense", conv.in_channels: "depthwise"}
    return Replacement(
        name=candidate.name,
        stage=candidate.stage,
        conv=f"{conv.kernel_size[0]}x{conv.kernel_size[1]} {kinds.get(conv.groups, f'{conv.groups} groups')}",
        dim=conv.in_channels,
        groups=groups,
        length=candidate.size,
        with_pe=with_pe,
        params_before=sum(parameter.numel() for parameter in conv.parameters()),
        params_after=positions * (per_group + with_pe) + conv.in_channels,
        madds_before=conv.weight.numel() * height * width,
        madds_after=positions * per_group * height * width,
    )


def _late(found: Survey) -> list[Candidate]:
    sizes = found.sizes[: len(_LATE)]
    chosen = _last(found.candidates, key=lambda each: each.size, numbers=dict(zip(sizes, _LATE, strict=False)))
    if not chosen:
        able = dict(sorted(Counter(each.stage for each in found.candidates).items()))
        raise InputError(
            f"stages=None: nothing on the smallest maps, {sizes}, can become ParC; give stages, at most {able}"
        )
    return chosen


def _last_of(candidates: Sequence[Candidate], stages: Mapping[int, int], *, size: tuple[int, int]) -> list[Candidate]:
    able = Counter(each.stage for each in candidates)
    if not stages or any(not 1 <= number <= able[stage] for stage, number in stages.items()):
        most = dict(sorted(able.items()))
        raise InputError(f"stages={dict(stages)} at size={size}: needs 1 or more of a stage, at most {most}")
    return _last(candidates, key=lambda each: each.stage, numbers=stages)


def _last(
    candidates: Sequence[Candidate], *, key: Callable[[Candidate], Key], numbers: Mapping[Key, int]
) -> list[Candidate]:
    """Return, in the model's order, so many of the last ones of each key as `numbers` says, or all that there are."""
    left = dict(numbers)
    chosen: list[Candidate] = []
    for each in reversed(candidates):
        if left.get(key(each), 0) > 0:
            left[key(each)] -= 1
            chosen.append(each)
    return chosen[::-1]


def _check_stages(stages: object) -> None:
    numbers = [*stages, *stages.values()] if isinstance(stages, Mapping) else [None]
    if not all(isinstance(number, int) for number in numbers):
        raise InputError(f"stages={stages!r}: must map indices of stages to numbers of convolutions, as {{2: 3, 3: 1}}")


def _own_size(model: nn.Module) -> tuple[int, int]:
    config = cast("Mapping[str, object]", getattr(model, "pretrained_cfg", None) or {})
    if "input_size" not in config:
        raise InputError("size=None: the model has no pretrained_cfg that tells its size; give (height, width)")
    _, height, width = cast("tuple[int, int, int]", config["input_size"])
    return height, width
