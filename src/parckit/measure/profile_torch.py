"""The time of every layer of a checkpoint in torch. The layers are the modules that contain no others."""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from parckit.measure.candidates import Candidate
from parckit.measure.latency import one_batch
from parckit.measure.profiling import CEILING_SIDE, Layer, ProfiledRuns, convolution_kind
from parckit.networks import open_checkpoint
from parckit.runtimes.torch import TorchSession, torch_threads

_MS_PER_S = 1e3
OUTSIDE = "outside of modules"
"""Layer with the time that no module takes, such as additions and activations that are functions."""


def prepare(candidate: Candidate, *, threads: int, folder: Path) -> ProfiledRuns:  # noqa: ARG001  # needs no files
    """Open a checkpoint for a profile; see `parckit.measure.profiling`."""
    plain, (network, spec) = candidate.open(threads), open_checkpoint(candidate.path)
    images = one_batch(plain)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.eval()(torch.from_numpy(images))
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    clock = _Clock(network)
    profiled = TorchSession(network, spec, threads=threads)
    matrix = torch.randn(CEILING_SIDE, CEILING_SIDE, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        with clock:
            profiled(images)

    def multiply() -> None:
        with torch_threads(threads), torch.inference_mode():
            torch.mm(matrix, matrix)

    return ProfiledRuns(
        profiled=run, plain=lambda: plain(images), ceiling=multiply, read_layers=lambda: clock.layers(flops)
    )


class _Clock:
    """Notes the time of every module without children in each run of a network.

    Args:
        network: the network; hooks are added to its modules.
    """

    def __init__(self, network: nn.Module) -> None:
        self._class = type(network).__name__
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._current: dict[str, float] = {}
        self._kinds: dict[str, str] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}
        self._start = 0.0
        for name, module in network.named_modules():
            if not any(True for _ in module.children()):
                self._watch(name, module)

    def _watch(self, name: str, module: nn.Module) -> None:
        started: list[float] = []

        def before(_module: nn.Module, _inputs: object) -> None:
            started.append(perf_counter())

        def after(_module: nn.Module, _inputs: object, output: object) -> None:
            self._current[name] = self._current.get(name, 0.0) + perf_counter() - started.pop()
            self._outputs[name] = tuple(output.shape) if isinstance(output, Tensor) else ()

        kind = type(module).__name__
        if isinstance(module, nn.Conv2d):
            kind = convolution_kind(kind, module.weight.shape[1:], channels=module.in_channels)
        self._kinds[name] = kind
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def __enter__(self) -> None:
        self._current.clear()
        self._start = perf_counter()

    def __exit__(self, *_error: object) -> None:
        total = perf_counter() - self._start
        for name, seconds in self._current.items():
            self._durations[name].append(seconds)
        self._durations[OUTSIDE].append(total - math.fsum(self._current.values()))

    def layers(self, flops: Mapping[str, int]) -> tuple[Layer, ...]:
        """Return the modules that ran, in the order in which they run; the time is the median over the runs.

        Args:
            flops: operations by name of the module; names begin with the class of the network.
        """
        return tuple(
            Layer(
                name=name,
                kind=self._kinds.get(name, OUTSIDE),
                milliseconds=median(seconds) * _MS_PER_S,
                madds=flops.get(f"{self._class}.{name}", 0) // 2 or None,
                output=self._outputs.get(name, ()),
            )
            for name, seconds in self._durations.items()
        )
