"""The training curve as Lightning's CSVLogger writes it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parckit.contract import LOGS, METRICS, InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRow:
    """One row of a training log.

    Attributes:
        step: optimizer steps taken.
        epoch: index of the epoch, from 0; None where the row has none.
        values: the row's numbers by name, such as `train_loss`, `val_loss`, `val_top1` and `lr`.
    """

    step: int
    epoch: int | None = None
    values: Mapping[str, float] = field(default_factory=dict[str, float])


def read_run(folder: Path) -> list[CurveRow]:
    """Read all logs of a run; a run that was resumed has several.

    A run that was killed may have logged steps after its last checkpoint. The resumed run takes these steps again, so
    the newer log counts.

    Args:
        folder: of the run. Without logs, the curve is empty.

    Raises:
        InputError: if a log is not one of a training.
    """
    rows: list[CurveRow] = []
    for path in sorted(folder.glob(f"{LOGS}/version_*/{METRICS}"), key=_version):
        newer = read_curve(path)
        first = min((row.step for row in newer), default=None)
        rows = [row for row in rows if first is None or row.step < first] + newer
    return rows


def _version(path: Path) -> int:
    number = path.parent.name.removeprefix("version_")
    return int(number) if number.isdecimal() else -1


def read_curve(path: Path) -> list[CurveRow]:
    """Read the `metrics.csv` of Lightning's CSVLogger.

    Raises:
        InputError: if the file is missing, has no column `step`, or a cell is no number.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the metrics.csv of a training run")
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, restval="")
        if "step" not in (table.fieldnames or ()):
            raise InputError(f"{path}: has no column 'step'; expected the metrics.csv of a training run")
        try:
            return [_curve_row(cells) for cells in table]
        except (TypeError, ValueError) as error:  # a row with too many cells holds a list
            raise InputError(f"{path}: line {table.line_num}: {error}") from error


def _curve_row(cells: Mapping[str, str]) -> CurveRow:
    values = {column: float(cell) for column, cell in cells.items() if cell}
    step, epoch = values.pop("step", None), values.pop("epoch", None)
    if step is None:
        raise ValueError("has no step")
    return CurveRow(step=int(step), epoch=None if epoch is None else int(epoch), values=values)
