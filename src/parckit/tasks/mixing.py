"""Mixing the images of a batch two by two, and their classes with them."""

from dataclasses import dataclass

from torch import nn
from torchvision.transforms import v2

from parckit.contract import InputError


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class MixingSettings:
    """Each batch is mixed by mixup (arXiv:1710.09412) or by CutMix (arXiv:1905.04899), all its pairs alike.

    The defaults are those of ConvNeXt (arXiv:2201.03545, appendix A.1) and of ParCNetV2.

    Attributes:
        mixup: alpha of the distribution Beta(alpha, alpha) of an image's weight in mixup; 0 leaves mixup out.
        cutmix: the same of the share of the area that an image keeps in CutMix; 0 leaves CutMix out.
        switch: probability of CutMix where both are in use.

    Raises:
        InputError: if an alpha is negative, both are 0, or `switch` is no probability.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or self.mixup == self.cutmix == 0:
            both = f"mixing.mixup={self.mixup}, mixing.cutmix={self.cutmix}"
            raise InputError(f"{both}: must be 0 or more, not both 0 (mixing=null mixes nothing)")
        if not 0 <= self.switch <= 1:
            raise InputError(f"mixing.switch={self.switch}: must lie in 0..1")

    def build(self, *, num_classes: int) -> nn.Module:
        """Return the mixer of a batch; it draws from torch's global generator.

        Every image meets the one before it, so batches must be shuffled. Targets turn from indices into probabilities.

        Shape:
            (B, 3, H, W), (B,) -> (B, 3, H, W), (B, num_classes)
        """
        mixers: list[nn.Module] = []
        if self.mixup:
            mixers.append(v2.MixUp(alpha=self.mixup, num_classes=num_classes))
        if self.cutmix:
            mixers.append(v2.CutMix(alpha=self.cutmix, num_classes=num_classes))
        return v2.RandomChoice(mixers, p=[1 - self.switch, self.switch]) if len(mixers) > 1 else mixers[0]
