"""Trainings of several processes: what each of them runs. A fork has all imports of the tests already."""

import multiprocessing
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.distributed.elastic.rendezvous import dynamic_rendezvous
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from drawn_weights import as_if_trained
from parckit.cli import main as cli
from parckit.contract import NetworkSpec, Preprocessing
from parckit.tasks import (
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    Position,
    ScheduleSettings,
    SkippedImages,
    TrainingData,
    TrainingModule,
    TrainingTask,
    plan_run,
    quiet_lightning,
)

PATIENCE = 60
"""Seconds after which a process that did not end fails its test; one that hangs never ends by itself."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fork(target: Callable[..., None], *args: object) -> ForkProcess:
    """Start a process that begins as a copy of this one, so that it imports nothing and builds no parser again."""
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(target, *args))
    with warnings.catch_warnings():
        # Python 3.12 warns of the threads of pytest-xdist and of libraries. The copy needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    return process


def ends(process: ForkProcess) -> int | None:
    """Wait for a process; return its exit code, None if it hangs.

    `join` with a time limit would also wait for the workers of a killed training, which notice after 5 seconds.
    """
    end = time.monotonic() + PATIENCE
    while process.exitcode is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.exitcode


def _alone(target: Callable[..., None], *args: object) -> None:
    """Run a function in one thread, because OpenMP's threads are not in a copy; pytest captures nothing of it."""
    torch.set_num_threads(1)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    target(*args)


def fork_together(target: Callable[..., None], *args: object, processes: int = 2) -> list[ForkProcess]:
    """Fork processes that find each other as those of Lightning's launcher do."""
    port = free_port()
    return [fork(_join, number, processes, port, target, *args) for number in range(processes)]


def _join(number: int, processes: int, port: int, target: Callable[..., None], *args: object) -> None:
    os.environ |= {
        "LOCAL_RANK": str(number),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    target(*args)


def command(folder: Path, argv: Sequence[str]) -> None:
    """Run a command line; what it prints goes to files of this process's number, its process id into another."""
    number = os.environ["LOCAL_RANK"]
    for stream, name in ((1, "out"), (2, "err")):
        with (folder / f"{name}-{number}").open("a") as file:
            os.dup2(file.fileno(), stream)
    with (folder / f"pid-{number}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    cli._PATIENCE = 0  # no launcher ends these processes meanwhile
    cli.main([*argv])


def launch(folder: Path, argv: Sequence[str], restarts: int) -> None:
    """Run a command line in two processes of the agent that torchrun runs, with as many restarts."""
    # The store that the agent shares by default still holds the addresses of the processes before (pytorch#135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    dynamic_rendezvous._delay = lambda seconds: time.sleep(0.1)  # usually a second before every next look
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{free_port()}",
        max_restarts=restarts,
        start_method="fork",
    )
    elastic_launch(config, command)(folder, argv)


class Recorder(Callback):
    """Keep what this process and the whole training did."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.validations: list[dict[str, float]] = []
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if trainer.current_epoch == 0 and not trainer.sanity_checking:
            self.seen.append(batch.images.double().mean((2, 3)).reshape(-1, 3))

    def on_validation_end(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            results = ("val_loss", *pl_module.task.monitors)
            self.validations.append({name: float(trainer.callback_metrics[name]) for name in results})


def fit(out: Path, source: Path | str, options: Mapping[str, object], task: TrainingTask) -> None:
    """Train a few steps on a source and leave a record for each process."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    options = dict(options)
    batch_size, on_error, precision = (options.pop(name) for name in ("batch_size", "on_error", "precision"))
    seed_everything(0, verbose=False)
    settings = ModelSettings(optimizer=OptimizerSettings(lr=1e-2), schedule=ScheduleSettings(warmup=0.2), **options)
    data_settings = DataSettings(
        source=str(source),
        preprocessing=Preprocessing(size=(32, 32)),
        batch_size=batch_size // processes,
        workers=0,
        on_error=on_error,
    )
    data = TrainingData(data_settings, task=task)
    recorder = Recorder()
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            devices=processes,
            precision=precision,
            max_epochs=3,
            callbacks=[recorder, SkippedImages(max_broken=1.0, source="pictures", train_images=data.train_images)],
            default_root_dir=out,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        module = _module(trainer, data, settings, task)
        trainer.fit(module, datamodule=data)
    record = {
        "losses": recorder.losses,
        "validations": recorder.validations,
        "seen": torch.cat(recorder.seen),
        "batches": len(recorder.seen),
        "weights": module.model.state_dict(),
    }
    torch.save(record, out / f"record-{trainer.global_rank}")


def _module(trainer: Trainer, data: TrainingData, settings: ModelSettings, task: TrainingTask) -> TrainingModule:
    """Hand the size of the run to the data, and return the module to train."""
    batches = data.batches_per_epoch(processes=trainer.world_size)
    plan = plan_run(trainer, batch_size=data.settings.batch_size, batches=batches, start=Position())
    data.begin(plan)
    spec = NetworkSpec(
        task=task.name,
        head=settings.head or task.head,
        head_kwargs=settings.head_kwargs or {},
        backbone=settings.name,
        backbone_kwargs=settings.kwargs,
        labels=data.labels,
        preprocessing=data.settings.preprocessing,
    )
    module = TrainingModule(spec, settings=settings, task=task, plan=plan, sizes=data.training_sizes)
    as_if_trained(module.model)
    return module
