"""Mix pairs of images in a batch, and their classes too."""

from dataclasses import dataclass

from torch import nn
from torchvision.transforms import v2

from parckit.contract import InputError


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class MixingSettings:
    """Every batch is mixed by mixup (arXiv:1710.09412) or CutMix (arXiv:1905.04899), all its pairs in the same way.

    The defaults are those of ConvNeXt (arXiv:2201.03545, appendix A.1) and of ParCNetV2.

    Attributes:
        mixup: the weight of an image in mixup is drawn from Beta(alpha, alpha), and this is alpha; 0: no mixup.
        cutmix: the share of its area that an image keeps in CutMix is drawn in the same way; 0: no CutMix.
        switch: probability of CutMix if both are used.

    Raises:
        InputError: if an alpha is negative, both are 0, or `switch` is not in [0, 1].
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
        """Return the module that mixes a batch; it draws from torch's global generator.

        Every image is mixed with the image before it, so batches must be shuffled. Targets change from class indices to
        probabilities.

        Shape:
            (B, 3, H, W), (B,) -> (B, 3, H, W), (B, num_classes)
        """
        mixers: list[nn.Module] = []
        if self.mixup:
            mixers.append(v2.MixUp(alpha=self.mixup, num_classes=num_classes))
        if self.cutmix:
            mixers.append(v2.CutMix(alpha=self.cutmix, num_classes=num_classes))
        return v2.RandomChoice(mixers, p=[1 - self.switch, self.switch]) if len(mixers) > 1 else mixers[0]
