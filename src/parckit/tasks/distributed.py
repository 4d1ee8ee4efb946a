"""What a training of several processes has to mind."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast, final

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import LayerSync
from timm.layers import convert_sync_batchnorm
from torch import nn

from parckit.tasks.errors import LostProcessError

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL


def is_distributed() -> bool:
    """Return whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@final
class SyncNorms(LayerSync):
    """Let batch norms see the images of all processes.

    Lightning's own plugin uses torch's conversion, which takes the activation out of timm's norms that include one.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms; parameters, buffers and keys stay."""
        return cast("nn.Module", convert_sync_batchnorm(model))

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave them: outside of training they compute what the others do."""
        return model


@contextmanager
def ending_together(trainer: Trainer) -> Generator[None]:
    """Let no process that Lightning has started outlive the first one's error.

    Whoever waits for another process is not told why that one ended.

    Raises:
        LostProcessError: if the error comes from the end of another process.
    """
    try:
        yield
    except BaseException as error:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(_KILL)
        if isinstance(error, RuntimeError) and _is_lost_process(error):
            raise LostProcessError(
                "another process of this training has ended: it says why, unless it was killed, as by a system out of"
                " memory; --resume auto goes on from the last checkpoint"
            ) from error
        raise


def _is_lost_process(error: RuntimeError) -> bool:
    """Tell by the exception; gloo, which connects CPUs, has none of its own, but its path in the message."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
