"""ParC for any convolutional network of timm: `parcify(model)`, and the hybrids that are made by it.

ParC-Net's authors put their operator into ConvNeXt, ResNet-50 and MobileNetV2 in place of a few spatial convolutions on
the two smallest maps, and leave everything else as it was (Zhang et al., ECCV 2022, arXiv:2203.03952). Here that is one
mechanism in two steps: `plan_parc` finds the convolutions and says what would change, `apply_parc` exchanges them.
"""

import copy
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast, get_args

import timm
import torch
from timm.models import build_model_with_cfg
from torch import nn

from parckit.contract import InputError
from parckit.layers import ParCConv2d
from parckit.models.replaceable import Candidate, find_candidates

PositionEmbeddings = Literal["every", "first", "none"]
AnyModel = TypeVar("AnyModel", bound=nn.Module)
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
        groups: groups of ParC in each half of the channels.
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
    groups: int
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

    @property
    def params_change(self) -> int:
        """Parameters that the model gains; negative where it loses."""
        return sum(each.params_after - each.params_before for each in self.replacements)

    @property
    def madds_change(self) -> int:
        """Multiply-adds per image that the model gains; negative where it loses."""
        return sum(each.madds_after - each.madds_before for each in self.replacements)


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
    weights stay; the new ones are fresh and want training. The model given is not changed. Where a replaced convolution
    was one branch of several (RepViT, FastViT), timm can no longer merge the branches.

    Args:
        model: a whole timm model; take features of what comes back, by `forward_intermediates` or timm's wrappers.
        stages: stage index -> how many of its last convolutions to replace. Stages are counted from 0 behind the stem,
            as the model's `group_matcher(coarse=True)` groups its layers. By default the last convolution on the
            smallest maps and the last three on the next larger ones, the proportion of the paper's hybrids.
        size: (height, width) of the images, pixels, for which kernels and embeddings get their lengths; by default the
            size in the model's `pretrained_cfg`. Every other size works too, by interpolation.
        position_embedding: in `"every"` ParC operator, in the `"first"` of each stage, or in `"none"`.

    Raises:
        InputError: if nothing, or less than asked for, can be replaced; if the model has no stages or cannot take
            images of `size`; for an unknown `position_embedding`.
    """
    report = plan_parc(model, stages=stages, size=size, position_embedding=position_embedding)
    twin = copy.deepcopy(model)
    apply_parc(twin, report)
    return Parcified(model=twin, report=report)


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
    """Build a registered model that is another registered model with ParC; `img_size` sets its native lengths.

    Lengths come from the twin at its full stride, so that weights fit every `output_stride`.
    """

    def build(*, img_size: int = 224, **options: object) -> nn.Module:
        report = _plan_of(twin, tuple(stages.items()), position_embedding, img_size)
        model = timm.create_model(twin, **options)  # pyright: ignore[reportArgumentType]
        apply_parc(model, report)
        return model

    return build_model_with_cfg(build, variant, pretrained, feature_cfg=dict(feature_cfg), **kwargs)  # pyright: ignore[reportArgumentType]


@functools.cache
def _plan_of(
    twin: str, stages: tuple[tuple[int, int], ...], position_embedding: PositionEmbeddings, img_size: int
) -> ParCReport:
    """Plan on the twin without data; a trace takes longer than building the hybrid, so it is made once."""
    with torch.device("meta"):
        native = timm.create_model(twin)
    return plan_parc(native, stages=dict(stages), size=(img_size, img_size), position_embedding=position_embedding)


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
    size = size or _own_size(model)
    candidates = find_candidates(model, size)
    chosen = _late(candidates) if stages is None else _last_of(candidates, stages, size=size)
    replacements: list[Replacement] = []
    for candidate in chosen:
        first = all(candidate.stage != other.stage for other in replacements)
        with_pe = position_embedding == "every" or (position_embedding == "first" and first)
        replacements.append(_describe(candidate, with_pe=with_pe))
    return ParCReport(size=size, replacements=tuple(replacements))


def apply_parc(model: nn.Module, report: ParCReport) -> None:
    """Exchange the convolutions of a report in the model itself."""
    for each in report.replacements:
        conv = cast("nn.Conv2d", model.get_submodule(each.name))
        parc = ParCConv2d(each.dim, each.length, groups=each.groups, with_pe=each.with_pe)
        model.set_submodule(each.name, parc.to(conv.weight).train(conv.training))


def _describe(candidate: Candidate, *, with_pe: bool) -> Replacement:
    conv, (height, width) = candidate.conv, candidate.size
    half, groups = conv.in_channels // 2, max(1, conv.groups // 2)
    weights = half * (half // groups) * (height + width)
    embeddings = half * (height + width) if with_pe else 0
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
        params_after=weights + embeddings + conv.in_channels,
        madds_before=conv.weight.numel() * height * width,
        madds_after=weights * height * width,
    )


def _late(candidates: Sequence[Candidate]) -> list[Candidate]:
    sizes = sorted({each.size for each in candidates}, key=lambda size: size[0] * size[1])
    last = {
        size: [each for each in candidates if each.size == size][-number:]
        for size, number in zip(sizes, _LATE, strict=False)
    }
    return [each for each in candidates if each in last.get(each.size, ())]


def _last_of(candidates: Sequence[Candidate], stages: Mapping[int, int], *, size: tuple[int, int]) -> list[Candidate]:
    able = Counter(each.stage for each in candidates)
    if not stages or any(not 1 <= number <= able[stage] for stage, number in stages.items()):
        most = dict(sorted(able.items()))
        raise InputError(f"stages={dict(stages)} at size={size}: needs 1 or more of a stage, at most {most}")
    return [
        each
        for stage in sorted(stages)
        for each in [each for each in candidates if each.stage == stage][-stages[stage] :]
    ]


def _own_size(model: nn.Module) -> tuple[int, int]:
    config = cast("Mapping[str, object]", getattr(model, "pretrained_cfg", None) or {})
    if "input_size" not in config:
        raise InputError("size=None: the model has no pretrained_cfg that tells its size; give (height, width)")
    _, height, width = cast("tuple[int, int, int]", config["input_size"])
    return height, width
