"""The training curve as Lightning's CSVLogger writes it."""

import csv
from dataclasses import dataclass
from pathlib import Path

from parckit.contract import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRow:
    """One row of a training log; `None` where the row has no such value.

    Attributes:
        step: optimizer steps taken.
        epoch: index of the epoch, from 0.
        train_loss: loss of a training batch or mean of several.
        val_loss: mean validation loss.
        val_top1: validation accuracy, percent.
        lr: learning rate.
    """

    step: int
    epoch: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    val_top1: float | None = None
    lr: float | None = None


def read_curve(path: Path) -> list[CurveRow]:
    """Read the `metrics.csv` of Lightning's CSVLogger; columns that `CurveRow` does not know are left out.

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
        except ValueError as error:
            raise InputError(f"{path}: line {table.line_num}: {error}") from error


def _curve_row(cells: dict[str, str]) -> CurveRow:
    def number(column: str) -> float | None:
        cell = cells.get(column)
        return float(cell) if cell else None

    epoch = number("epoch")
    return CurveRow(
        step=int(float(cells["step"])),
        epoch=None if epoch is None else int(epoch),
        train_loss=number("train_loss"),
        val_loss=number("val_loss"),
        val_top1=number("val_top1"),
        lr=number("lr"),
    )
