"""Put ParC into any convolutional network of timm: `parcify(model)`, and what the hybrid models need.

ParC-Net's authors put their operator into ConvNeXt, ResNet-50 and MobileNetV2. It replaces a few spatial convolutions
on the two smallest maps; everything else stays (Zhang et al., ECCV 2022, arXiv:2203.03952). Here this takes two steps:
`plan_parc` selects the convolutions and describes the changes, `apply_parc` replaces the convolutions.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast, get_args

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import to_2tuple
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn

from parckit.contract import InputError
from parckit.layers import ParCConv2d
from parckit.models.build import check_size, copy_model
from parckit.models.parcnet import PARCNET_SOURCE
from parckit.models.registered import build_registered
from parckit.models.replaceable import Candidate, Survey, survey

PositionEmbeddings = Literal["every", "first", "none"]
AnyModel = TypeVar("AnyModel", bound=nn.Module)
Key = TypeVar("Key", bound=Hashable)
_LATE = (1, 3)
"""Default numbers of replaced convolutions: the last one on the smallest maps, the last three on the next larger maps.
The paper's hybrids have four ParC operators in this proportion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """One convolution that becomes ParC.

    Attributes:
        name: name of the module in the model.
        stage: index of its stage; 0 is the first one after the stem.
        conv: kind of the replaced convolution, such as `7x7 depthwise`.
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
        size: (height, width) of the images, pixels, to which kernel lengths and multiply-adds refer.
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

    A convolution can be replaced if its kernel is 3x3 or larger and it keeps the shape of its map. A depthwise one
    becomes depthwise ParC, a dense one becomes dense within each half of the channels, a grouped one keeps its groups.
    The weights of ParC are fresh and need training; they are trainable even if the model is frozen. All other weights
    stay, and the model that you pass is not changed.

    If the blocks of a network have parallel branches (RepVGG, MobileOne, RepViT, FastViT), first merge them with
    `timm.utils.reparameterize_model`. Otherwise every branch counts as a convolution, and timm cannot merge the
    branches later. If a block has several convolutions (Res2Net, MixNet, VoVNet), the last convolutions may all be in
    one block; a larger number in `stages` reaches the other blocks.

    Args:
        model: a whole timm model. To get features from the result, call its `forward_intermediates` or wrap it in
            timm's `FeatureGetterNet`.
        stages: stage index -> how many convolutions to replace, counted from the stage's end. Stage 0 is the first one
            after the stem, as in the model's `group_matcher(coarse=True)`. Default: the last convolution on the
            smallest maps and the last three on the next larger maps, as in the paper's hybrids.
        size: (height, width) of the images, pixels; it sets the lengths of kernels and embeddings. Default: the size in
            the model's `pretrained_cfg`. Images of other sizes work, too: kernels and embeddings are interpolated.
        position_embedding: which ParC operators have embeddings: `"every"` one, the `"first"` of each stage, or
            `"none"`.

    Raises:
        InputError: if nothing can be replaced, or less than `stages` asks for; if the model has no stages or cannot
            take images of `size`; if an argument has another form than described here.
    """
    report = plan_parc(model, stages=stages, size=size, position_embedding=position_embedding)
    twin = copy_model(model)
    apply_parc(twin, report)
    return Parcified(model=twin, report=report)


def hybrid_cfg(**kwargs: object) -> dict[str, object]:
    """Return the `default_cfgs` entry of a hybrid; `kwargs` name its layers and override other entries."""
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
    """Return the (pattern, replacement) pairs that turn official keys of ParC into ours.

    Args:
        theirs: the name of the ParC operators in the official model, without the axis.
        ours: the name of the replaced module in our model.
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
    """Build `variant`: the registered model `twin` with ParC. `img_size` sets the lengths of kernels and embeddings."""

    def build(*, img_size: int | tuple[int, int] | None = None, **options: object) -> nn.Module:
        if img_size is None:
            img_size = cast("PretrainedCfg", get_pretrained_cfg(variant)).input_size[1:]
        size = cast("tuple[int, int]", to_2tuple(img_size))
        # Plan without `output_stride`: then the same weights fit models of every `output_stride`.
        native = {name: value for name, value in options.items() if name != "output_stride"}
        # The plan needs no data; the replacement is made in the real model.
        with torch.device("meta"):
            plain = timm.create_model(twin, **native)  # pyright: ignore[reportArgumentType]
        report = plan_parc(plain, stages=stages, size=size, position_embedding=position_embedding)
        model = timm.create_model(twin, **options)  # pyright: ignore[reportArgumentType]
        apply_parc(model, report)
        return model

    return build_registered(build, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


def plan_parc(
    model: nn.Module,
    *,
    stages: Mapping[int, int] | None,
    size: tuple[int, int] | None,
    position_embedding: PositionEmbeddings,
) -> ParCReport:
    """Select what `parcify` replaces, without changing the model; arguments and errors are the same as there."""
    if position_embedding not in get_args(PositionEmbeddings):
        raise InputError(f"position_embedding={position_embedding!r}: choose from {get_args(PositionEmbeddings)}")
    if stages is not None:
        _check_stages(stages)
    size = _native_size(model) if size is None else size
    check_size(size)
    surveyed = survey(model, size)
    selected = _select_late(surveyed) if stages is None else _select_by_stage(surveyed.candidates, stages, size=size)
    replacements: list[Replacement] = []
    for candidate in selected:
        first = all(candidate.stage != other.stage for other in replacements)
        with_pe = position_embedding == "every" or (position_embedding == "first" and first)
        replacements.append(_describe(candidate, with_pe=with_pe))
    return ParCReport(size=size, replacements=tuple(replacements))


def apply_parc(model: nn.Module, report: ParCReport) -> None:
    """Replace the convolutions of a report in the model itself, under every name that they have there."""
    for replacement in report.replacements:
        conv = cast("nn.Conv2d", model.get_submodule(replacement.name))
        parc = ParCConv2d(replacement.dim, replacement.length, groups=replacement.groups, with_pe=replacement.with_pe)
        parc = parc.to(conv.weight).train(conv.training)
        for name, module in [*model.named_modules(remove_duplicate=False)]:
            if module is conv:
                model.set_submodule(name, parc)


def _describe(candidate: Candidate, *, with_pe: bool) -> Replacement:
    conv, (height, width) = candidate.conv, candidate.size
    groups = (1, 1) if conv.groups == 1 else (math.ceil(conv.groups / 2), conv.groups // 2)
    per_group = conv.in_channels // sum(groups)
    # Every channel of one half has a column of positions, every channel of the other half a row.
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


def _select_late(surveyed: Survey) -> list[Candidate]:
    """Return the candidates that are replaced by default."""
    sizes = surveyed.sizes[: len(_LATE)]
    numbers = dict(zip(sizes, _LATE, strict=False))
    selected = _last(surveyed.candidates, key=lambda candidate: candidate.size, numbers=numbers)
    if not selected:
        most = _count_by_stage(surveyed.candidates)
        raise InputError(
            f"stages=None: nothing on the smallest maps, {sizes}, can become ParC; set stages, at most {most}"
        )
    return selected


def _select_by_stage(
    candidates: Sequence[Candidate], stages: Mapping[int, int], *, size: tuple[int, int]
) -> list[Candidate]:
    """Return the last candidates of the stages, as many as `stages` says."""
    most = _count_by_stage(candidates)
    if not stages or any(not 1 <= number <= most.get(stage, 0) for stage, number in stages.items()):
        raise InputError(f"stages={dict(stages)} at size={size}: needs 1 or more per stage, at most {most}")
    return _last(candidates, key=lambda candidate: candidate.stage, numbers=stages)


def _count_by_stage(candidates: Sequence[Candidate]) -> dict[int, int]:
    return dict(sorted(Counter(candidate.stage for candidate in candidates).items()))


def _last(
    candidates: Sequence[Candidate], *, key: Callable[[Candidate], Key], numbers: Mapping[Key, int]
) -> list[Candidate]:
    """Return the last candidates of every key in `numbers`, in the model's order.

    `numbers` says how many; if there are fewer, all are returned.
    """
    missing = dict(numbers)
    selected: list[Candidate] = []
    for candidate in reversed(candidates):
        if missing.get(key(candidate), 0) > 0:
            missing[key(candidate)] -= 1
            selected.append(candidate)
    return selected[::-1]


def _check_stages(stages: object) -> None:
    numbers = [*stages, *stages.values()] if isinstance(stages, Mapping) else [None]
    if not all(isinstance(number, int) for number in numbers):
        raise InputError(
            f"stages={stages!r}: must map stage indices to numbers of convolutions, such as {{2: 3, 3: 1}}"
        )


def _native_size(model: nn.Module) -> tuple[int, int]:
    config = cast("Mapping[str, object]", getattr(model, "pretrained_cfg", None) or {})
    if "input_size" not in config:
        raise InputError("size=None: the model's pretrained_cfg has no input_size; set size=(height, width)")
    _, height, width = cast("tuple[int, int, int]", config["input_size"])
    return height, width
