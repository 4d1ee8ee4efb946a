"""Training on Lightning: modules, data modules, optimisers and callbacks."""

from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.averaging import Averaging, WeightEMA, average_checkpoints
from parckit.tasks.callbacks import ImagesPerSecond, SkippedImages
from parckit.tasks.checkpoints import (
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    SaveBest,
    SaveLast,
    check_resumable,
    find_resumable,
)
from parckit.tasks.classify import ClassifyTask
from parckit.tasks.continuity import Continuity
from parckit.tasks.data import ClassifyData
from parckit.tasks.distill import Distillation
from parckit.tasks.distributed import SyncNorms, ending_together
from parckit.tasks.guards import StopOnNaN
from parckit.tasks.mixing import Mixing
from parckit.tasks.noise import without_noise
from parckit.tasks.optim import Optimizer, RunLength, Schedule

__all__ = [
    "LAST",
    "PREVIOUS",
    "AtomicCheckpointIO",
    "Averaging",
    "ClassifyData",
    "ClassifyTask",
    "Continuity",
    "Distillation",
    "ImagesPerSecond",
    "Mixing",
    "Optimizer",
    "RunLength",
    "SaveBest",
    "SaveLast",
    "Schedule",
    "SkippedImages",
    "StopOnNaN",
    "SyncNorms",
    "WeightEMA",
    "average_checkpoints",
    "check_resumable",
    "ending_together",
    "find_resumable",
    "keep_freed_memory",
    "without_noise",
]
