"""The table of tasks: what a recipe's `task.name` means."""

from collections.abc import Mapping

from parckit.tasks.classify import Classify
from parckit.tasks.task import TrainingTask

TASKS: Mapping[str, type[TrainingTask]] = {Classify.name: Classify}
"""A new task is a line here and a file beside this one. Its signature is the recipe's group `task`."""
