"""Training on Lightning: modules, data modules, optimisers and callbacks."""

from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.averaging import RampedEMA
from parckit.tasks.callbacks import ImagesPerSecond, SkippedImages
from parckit.tasks.classify import ClassifyTask
from parckit.tasks.data import ClassifyData
from parckit.tasks.noise import without_noise
from parckit.tasks.optim import AdamWCosine

__all__ = [
    "AdamWCosine",
    "ClassifyData",
    "ClassifyTask",
    "ImagesPerSecond",
    "RampedEMA",
    "SkippedImages",
    "keep_freed_memory",
    "without_noise",
]
