"""The table of tasks: what a recipe's `task.name` means."""

from collections.abc import Mapping

from parckit.tasks.classify import Classify
from parckit.tasks.detect import Detect
from parckit.tasks.multilabel import Multilabel
from parckit.tasks.segment import Segment
from parckit.tasks.task import TrainingTask

TASKS: Mapping[str, type[TrainingTask]] = {task.name: task for task in (Classify, Multilabel, Detect, Segment)}
"""A new task needs a line here and a file in this folder. The signature of its class is a recipe's group `task`."""
