"""What a training in several processes needs."""

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
    """Let batch norms use the images of all processes.

    Lightning's own plugin uses torch's conversion, which removes the activation from timm's norms that include one.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms; parameters, buffers and keys stay the same."""
        return cast("nn.Module", convert_sync_batchnorm(model))

    def revert(self, model: nn.Module) -> nn.Module:
        """Keep the replaced norms: outside of training they compute the same as ordinary batch norms."""
        return model


@contextmanager
def ending_together(trainer: Trainer) -> Generator[None]:
    """End the processes that Lightning has started if the body fails in the first process.

    A process that waits for another process does not learn why the other one ended.

    Raises:
        LostProcessError: if the body fails because another process has ended.
    """
    try:
        yield
    except BaseException as error:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(_KILL)
        if isinstance(error, RuntimeError) and _is_lost_process(error):
            raise LostProcessError(
                "another process of this training has ended; its own message says why, unless the system killed it, for"
                " example because memory was full; --resume auto goes on from the last checkpoint"
            ) from error
        raise


def _is_lost_process(error: RuntimeError) -> bool:
    """Return whether another process is gone. Gloo, which connects CPUs, has no exception class; its path tells."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
