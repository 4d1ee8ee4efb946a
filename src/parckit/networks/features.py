"""The backbone of a dense network: a timm model that returns its maps of some strides."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Protocol, cast, final

import torch
from timm.models import group_parameters
from timm.models._features import FeatureGetterNet
from timm.models.byobnet import ByobNet
from torch import Tensor, nn

from parckit.contract import InputError
from parckit.models import build_backbone, shadow_of

BACKBONE = "backbone.model."
"""Prefix of the timm model's weights in a network whose attribute `backbone` is a `Backbone`."""

MAP_NORMS = f"{BACKBONE}feature_norms."
"""Prefix of the weights of norms on a backbone's maps. A classifier has none."""

_SIDE = 64
"""Side of the image that shows how wide the maps are, pixels."""


class _ForwardIntermediates(Protocol):
    def __call__(self, images: Tensor, *, indices: list[int], norm: bool, intermediates_only: bool) -> list[Tensor]: ...


@final
class Backbone(nn.Module):
    """Maps of a timm model.

    The weights have the same names as in the model itself, after `model.`.

    Args:
        name: the model's name in timm.
        kwargs: further keywords of the model.
        strides: pixels of the image per position of the wanted maps, the finest first.
        pretrained: load the pretrained weights that timm has for the model.
        without_coarser: leave out the strides that are coarser than the model's coarsest one.
        with_earlier: put the map of the stage before the first wanted one in front. It may have the same stride.

    Attributes:
        channels: width of every map.
        strides: the strides of the maps.
        has_norms: whether the maps went through norms of their own, as those of a ParCNetV2 with `feature_norms`.

    Raises:
        InputError: if timm has no such model, or the model has no map of one of the strides.

    Shape:
        (B, 3, H, W) -> one (B, channels, H / stride, W / stride) for every stride
    """

    def __init__(
        self,
        name: str,
        kwargs: Mapping[str, object],
        *,
        strides: Sequence[int],
        pretrained: bool = False,
        without_coarser: bool = False,
        with_earlier: bool = False,
    ) -> None:
        super().__init__()
        features = _build(name, kwargs, pretrained=pretrained)
        reductions = features.feature_info.reduction()
        if without_coarser:
            strides = [stride for stride in strides if stride <= max(reductions)] or strides
        if missing := [stride for stride in strides if stride not in reductions]:
            raise InputError(f"backbone {name}: has no map of stride {missing[0]}; it has strides {reductions}")
        # Of several maps with a stride, the last one has seen the most layers.
        last = {stride: index for index, stride in enumerate(reductions)}
        wanted = [last[stride] for stride in strides]
        if with_earlier:
            if wanted[0] == 0:
                raise InputError(f"backbone {name}: has no map before that of stride {strides[0]}")
            wanted.insert(0, wanted[0] - 1)
        prune = cast("Callable[[list[int]], list[int]]", features.model.prune_intermediate_layers)
        self._wanted = prune(wanted)
        self.model: nn.Module = features.model
        self.strides = tuple(reductions[index] for index in wanted)
        self.has_norms = features.norm
        self.channels: tuple[int, ...] = self._measure_channels(int(kwargs.get("in_chans", 3)))  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, in the order of `strides`."""
        forward = cast("_ForwardIntermediates", self.model.forward_intermediates)
        return forward(images, indices=self._wanted, norm=self.has_norms, intermediates_only=True)

    def layer_of(self, *, coarse: bool) -> Callable[[str], float]:
        """Return a function from the name of a network's weight to its layer, which timm's layer decay asks for.

        The layers of the model are numbered from 0. All other weights of the network come after them.
        """
        matcher = cast("Callable[..., object]", self.model.group_matcher)
        layers = cast("dict[str, int]", group_parameters(self.model, matcher(coarse=coarse), reverse=True))  # pyright: ignore[reportArgumentType]
        return lambda name: layers.get(name.removeprefix(BACKBONE), inf) if name.startswith(BACKBONE) else inf

    def _measure_channels(self, in_chans: int) -> tuple[int, ...]:
        """Return the width of every map, by running a copy without data."""
        shadow = shadow_of(self)
        maps = shadow(torch.empty(1, in_chans, _SIDE, _SIDE, device="meta"))
        return tuple(one.shape[1] for one in maps)


class DenseNetwork(nn.Module, ABC):
    """A network that computes its answer from the maps of a backbone.

    Args:
        backbone: gives the maps.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the network's outputs."""

    def group_matcher(self, *, coarse: bool = False) -> Callable[[str], float]:
        """Return the layer of a weight by its name; timm's optimizers ask for it when layers learn at several rates."""
        return self.backbone.layer_of(coarse=coarse)

    def head_modules(self) -> Iterator[nn.Module]:
        """Yield all modules but those of the backbone."""
        for name, module in self.named_modules():
            if name and not f"{name}.".startswith("backbone."):
                yield module


def _build(name: str, kwargs: Mapping[str, object], *, pretrained: bool) -> FeatureGetterNet:
    model = build_backbone(name, kwargs, pretrained=pretrained, features_only=True, feature_cls="getter")
    features = cast("FeatureGetterNet", model)
    if isinstance(features.model, ByobNet):
        # timm's MobileViT widens its last map for the classifier, from 160 to 640 channels. The official detection
        # and segmentation networks read the map before that.
        features.model.final_conv = nn.Identity()
    return features
