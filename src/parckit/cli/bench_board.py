"""`parckit bench --board_log`: what a board's own tool measured becomes a table and a record."""

from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.tables import show, tell
from parckit.contract import InputError
from parckit.measure.board_log import board_values, read_board_logs
from parckit.measure.records import write_record
from parckit.options import parse_names, place_beside
from parckit.report.board_tables import COLUMNS, board_rows


def record_board(args: Namespace) -> None:
    """Read logs, print their numbers, and write a record beside the bundle.

    Raises:
        InputError: if a log cannot be read, or the logs are not those of one bundle.
    """
    if len(args.models) != 1:
        raise InputError("--board_log: name the one bundle that the board ran")
    (model,) = args.models
    if not model.exists():
        raise InputError(f"{model}: no such file or folder")
    record, obstacle = place_beside(model, "_board.json", wanted=args.record, option="--record")
    timings = read_board_logs([Path(name) for name in parse_names(args.board_log)])
    show(f"{model.name} on {args.board}", [column.lower() for column in COLUMNS], board_rows(timings))
    if obstacle is not None:
        tell(f"no record: {record} cannot be written ({obstacle}); --record FILE writes it elsewhere")
        return
    write_record(record, "board", board_values(timings, model=model, board=args.board), seed=None, threads=None)
    tell(f"record: {record}")
