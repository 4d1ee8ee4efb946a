"""The base class of our backbones: a sequence of stages, with the methods that timm expects from every backbone."""

from abc import ABC, abstractmethod
from typing import Protocol, cast, runtime_checkable

from jaxtyping import Float
from timm.layers import ClassifierHead, NormMlpClassifierHead
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn


class StagedBackbone(nn.Module, ABC):
    """Stages, which are sequences of blocks, and a classifier.

    Args:
        num_classes: 0 gives pooled features.
        in_chans: channels of the image.

    Attributes:
        stages: set by the subclass.
        head: set by the subclass.
        feature_info: width, stride and module name of every stage; filled by the subclass.

    Shape:
        (B, in_chans, H, W) -> (B, num_classes)
    """

    stages: nn.Sequential
    head: ClassifierHead | NormMlpClassifierHead

    def __init__(self, num_classes: int, *, in_chans: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.grad_checkpointing = False
        self.feature_info: list[dict[str, object]] = []

    @abstractmethod
    def forward_stem(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Run the layers before the stages."""

    @abstractmethod
    def forward_final(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Run the layers between the stages and pooling."""

    @abstractmethod
    def forward_feature(self, x: Float[Tensor, "b c h w"], index: int, *, norm: bool) -> Float[Tensor, "b c h w"]:
        """Turn the output of a stage into a feature map; `norm` normalises it."""

    @abstractmethod
    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Return the patterns that put parameters into layer groups, for layer-wise learning rates."""

    @abstractmethod
    def init_weights(self) -> None:
        """Draw all weights anew, for example after a model made on the meta device got memory with `to_empty`."""

    @abstractmethod
    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove everything after the last selected stage; return the indices of the selected stages."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass to save memory, or stop doing so."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one; `num_classes=0` removes it."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        # A head without a classifier does not know where the model is.
        self.head.fc.to(next(self.parameters())).train(self.training)

    def forward_intermediates(
        self,
        x: Float[Tensor, "b c h w"],
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the final features and the outputs of selected stages, as in every timm backbone.

        Args:
            x: images.
            indices: stage indices, or how many of the last stages; default: all stages.
            norm: normalise the outputs, see `forward_feature` of the subclass.
            stop_early: do not run the stages after the last selected one.
            output_fmt: only `"NCHW"`.
            intermediates_only: leave out the final features.

        Raises:
            ValueError: if `output_fmt` is not `"NCHW"`, or if the model lacks the norms that `norm=True` needs.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r}: must be 'NCHW'")
        selected, last = feature_take_indices(len(self.stages), indices)
        # Run the stages and keep the outputs of the selected ones.
        intermediates: list[Tensor] = []
        x = self.forward_stem(x)
        stages = list(self.stages)[: last + 1] if stop_early else list(self.stages)
        for i, stage in enumerate(stages):
            x = self._run(cast("nn.Sequential", stage), x)
            if i in selected:
                intermediates.append(self.forward_feature(x, i, norm=norm))
        return intermediates if intermediates_only else (self.forward_final(x), intermediates)

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Return the map before pooling, `num_features` wide."""
        x = self.forward_stem(x)
        for stage in self.stages:
            x = self._run(cast("nn.Sequential", stage), x)
        return self.forward_final(x)

    def forward_head(self, x: Float[Tensor, "b d h w"], pre_logits: bool = False) -> Tensor:
        """Pool and classify; `pre_logits` stops before the classifier."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        """Return logits."""
        return self.forward_head(self.forward_features(x))

    def _run(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return cast("Tensor", checkpoint_seq(stage, x))
        return stage(x)


@runtime_checkable
class Resettable(Protocol):
    """A module that can draw its own weights anew; modules in it do it themselves."""

    def reset_parameters(self) -> None:
        """Draw the weights anew, and reset statistics."""


def reset_parameters(model: nn.Module) -> None:
    """Call `reset_parameters` of every module in a model, of the inner modules first."""

    def reset(module: nn.Module) -> None:
        if isinstance(module, Resettable):
            module.reset_parameters()

    model.apply(reset)


def check_img_size(img_size: object) -> None:
    """Check the side of the images for which kernels and embeddings are learned.

    Raises:
        ValueError: if it is not one whole number of pixels. Both axes learn the same length; kernels and embeddings
            are interpolated for other maps.
    """
    if not isinstance(img_size, int) or img_size < 1:
        raise ValueError(f"img_size={img_size!r}: must be one whole number of pixels, at least 1, for both sides")
