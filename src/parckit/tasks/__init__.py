"""Training on Lightning: modules, data modules, optimisers and callbacks."""

from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.averaging import Averaging, WeightEMA, average_checkpoints
from parckit.tasks.callbacks import SkippedImages, StepMetrics
from parckit.tasks.checkpoints import (
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    Resumable,
    SaveBest,
    SaveLast,
    find_resumable,
    open_resumable,
)
from parckit.tasks.classify import ClassifyTask
from parckit.tasks.continuity import Continuity
from parckit.tasks.data import ClassifyData
from parckit.tasks.distill import Distillation
from parckit.tasks.distributed import SyncNorms, ending_together
from parckit.tasks.guards import StopOnNaN
from parckit.tasks.mixing import Mixing
from parckit.tasks.optim import Optimizer, RunLength, Schedule
from parckit.tasks.quiet import quiet_lightning
from parckit.tasks.weights import expected_preprocessing

__all__ = [
    "LAST",
    "PREVIOUS",
    "AtomicCheckpointIO",
    "Averaging",
    "ClassifyData",
    "ClassifyTask",
    "Continuity",
    "Distillation",
    "Mixing",
    "Optimizer",
    "Resumable",
    "RunLength",
    "SaveBest",
    "SaveLast",
    "Schedule",
    "SkippedImages",
    "StepMetrics",
    "StopOnNaN",
    "SyncNorms",
    "WeightEMA",
    "average_checkpoints",
    "ending_together",
    "expected_preprocessing",
    "find_resumable",
    "keep_freed_memory",
    "open_resumable",
    "quiet_lightning",
]
