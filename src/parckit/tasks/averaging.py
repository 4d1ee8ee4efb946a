"""Weight averaging that also serves short runs."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from parckit.contract import InputError


class RampedEMA(WeightAveraging):
    """Validate and save an exponential moving average of weights and buffers, updated at every optimizer step.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): with a constant one, the first steps' weights would
    weigh as much in a run of a few hundred steps as the last ones'.

    Raises:
        InputError: if `decay` is not in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(f"ema_decay={decay}: must lie in (0, 1)")

        def update(averaged: tuple[Tensor, ...], current: tuple[Tensor, ...], updates: Tensor) -> None:
            n = int(updates)
            get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, updates)

        super().__init__(multi_avg_fn=update, use_buffers=True)
