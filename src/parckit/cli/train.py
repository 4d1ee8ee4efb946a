"""`parckit train`: train a network from a recipe."""

from functools import partial

from lightning.pytorch.utilities import rank_zero_only

from parckit.tasks import Run, parse_command, run_training


def main(argv: list[str]) -> None:
    """Run the verb."""
    # flush: if the output goes to a file, Python would otherwise hold many lines back.
    _show(run_training(*parse_command(argv), tell=partial(print, flush=True)))


@rank_zero_only
def _show(run: Run) -> None:
    print(f"best checkpoint: {run.best}\nlast checkpoint: {run.last}")
    if run.average is not None:
        print(f"average of the best: {run.average}")
    if run.metrics is not None:
        print(f"metrics: {run.metrics}")
    print(f"configuration: {run.config}")
