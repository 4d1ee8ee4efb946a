"""Training on Lightning: one module, one data module, and a file for what each task does differently."""

from parckit.tasks.averaging import AveragingSettings, WeightEMA, average_checkpoints
from parckit.tasks.callbacks import SkippedImages, StepMetrics
from parckit.tasks.checkpoints import AtomicCheckpointIO, SaveBest, SaveLast
from parckit.tasks.classify import Classify
from parckit.tasks.continuity import Continuity
from parckit.tasks.datamodule import DataSettings, TrainingData
from parckit.tasks.distill import DistillationSettings
from parckit.tasks.distributed import SyncNorms, ending_together
from parckit.tasks.errors import DivergedError, LostProcessError, TerminatedError
from parckit.tasks.guards import StopOnNaN
from parckit.tasks.keywords import parse_recipe
from parckit.tasks.mixing import MixingSettings
from parckit.tasks.module import ModelSettings, TrainingModule
from parckit.tasks.multilabel import Multilabel
from parckit.tasks.optim import OptimizerSettings, RunLength, ScheduleSettings
from parckit.tasks.plan import Position, RunPlan, plan_run
from parckit.tasks.quiet import quiet_lightning
from parckit.tasks.recipe import find_recipe, parse_command, recipe_parser, recipes_folder
from parckit.tasks.registry import TASKS
from parckit.tasks.resumable import Resumable, find_resumable, open_resumable
from parckit.tasks.task import TrainingTask
from parckit.tasks.train import Run, run_training, train
from parckit.tasks.weights import expected_preprocessing

__all__ = [
    "TASKS",
    "AtomicCheckpointIO",
    "AveragingSettings",
    "Classify",
    "Continuity",
    "DataSettings",
    "DistillationSettings",
    "DivergedError",
    "LostProcessError",
    "MixingSettings",
    "ModelSettings",
    "Multilabel",
    "OptimizerSettings",
    "Position",
    "Resumable",
    "Run",
    "RunLength",
    "RunPlan",
    "SaveBest",
    "SaveLast",
    "ScheduleSettings",
    "SkippedImages",
    "StepMetrics",
    "StopOnNaN",
    "SyncNorms",
    "TerminatedError",
    "TrainingData",
    "TrainingModule",
    "TrainingTask",
    "WeightEMA",
    "average_checkpoints",
    "ending_together",
    "expected_preprocessing",
    "find_recipe",
    "find_resumable",
    "open_resumable",
    "parse_command",
    "parse_recipe",
    "plan_run",
    "quiet_lightning",
    "recipe_parser",
    "recipes_folder",
    "run_training",
    "train",
]
