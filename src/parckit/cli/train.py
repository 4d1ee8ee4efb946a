"""`parckit train`: train a network from a recipe."""

from lightning.pytorch.utilities import rank_zero_only

from parckit.cli.tables import tell
from parckit.tasks import Run, parse_command, run_training


def main(argv: list[str]) -> None:
    """Run the verb."""
    _show(run_training(*parse_command(argv), tell=tell))


@rank_zero_only
def _show(run: Run) -> None:
    tell(f"best checkpoint: {run.best}")
    tell(f"last checkpoint: {run.last}")
    if run.average is not None:
        tell(f"average of the best: {run.average}")
    if run.metrics is not None:
        tell(f"metrics: {run.metrics}")
    tell(f"configuration: {run.config}")
