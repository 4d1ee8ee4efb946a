"""Two processes that work together, as those of a training do."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PROCESSES = 2


def run_in_two_processes(work: Callable[..., Any], *arguments: Any, folder: Path) -> list[Any]:
    """Return what `work(process, *arguments)` returns in each of two processes that torch.distributed joins."""
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.dict()
        shared = (work, arguments, str(folder / "rendezvous"), results)
        processes = [context.Process(target=_run, args=(rank, *shared)) for rank in range(PROCESSES)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * PROCESSES
        return [results[rank] for rank in range(PROCESSES)]


def _run(rank: int, work: Callable[..., Any], arguments: tuple[Any, ...], file: str, results: dict[int, Any]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=PROCESSES)
    results[rank] = work(rank, *arguments)
    torch.distributed.destroy_process_group()
