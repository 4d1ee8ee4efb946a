"""`parckit tune`: find good values for keys of a recipe."""

import json
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from parckit.cli.tables import show, tell
from parckit.contract import InputError
from parckit.options import verb_parser
from parckit.tasks import parse_command
from parckit.tasks.tuning import Tuned, run_trials
from parckit.tasks.tuning_space import read_space

_DESCRIPTION = (
    "Train a recipe several times with other values of some keys (Optuna proposes them). "
    "What follows -- are options of parckit train; its --out is the folder of all trials."
)


def main(argv: list[str]) -> None:
    """Run the verb.

    Raises:
        InputError: if the options of the training are missing.
    """
    parser = verb_parser("tune", description=_DESCRIPTION)
    parser.add_argument("space", type=Path, help="YAML file: KEY: {low: 1.0e-4, high: 1.0e-2, log: true}")
    parser.add_argument("--trials", type=int, default=20, help="how many trainings, finished ones included")
    end = argv.index("--") if "--" in argv else len(argv)
    args, training = parser.read(argv[:end]), argv[end + 1 :]
    if not training:
        raise InputError("parckit tune: name the training after --, such as: -- --config RECIPE --out FOLDER")
    space = read_space(args.space)
    _show(run_trials(*parse_command(training), space=space, trials=args.trials, tell=tell))


@rank_zero_only
def _show(tuned: Tuned) -> None:
    keys = list(tuned.values)
    rows = [
        (folder, "none" if value is None else f"{value:.6g}", *(json.dumps(values[key]) for key in keys))
        for folder, value, values in tuned.trials
    ]
    show(f"{len(rows)} trainings", ("training", tuned.monitor, *keys), rows)
    tell(f"best training: {tuned.best}")
    tell(f"its recipe: {tuned.recipe}")
