"""Time the two forms of a convolution along an axis, and the choice that `form="auto"` makes between them.

    OMP_NUM_THREADS=1 python benchmarks/circular.py

`--device cuda` runs it on a GPU. We have not measured there yet.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from parckit.layers import FORMS, Axis, ConstantAxisConv2d, Padding, axis_conv
from parckit.layers.along_axis import along
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record

RECORD = Path(__file__).parent / "records" / "circular.json"
SIZES = (7, 8, 10, 14, 16, 20, 28, 32, 48, 56, 64)
# Largest side of the map -> number of channels, as in half of ParC-Net-S's maps and in ParCNetV2-XT's.
CHANNELS = {10: 160, 16: 128, 32: 96, 64: 48}
BATCHES = (1, 32)
# A ParC block takes half of a map's channels. The half is in the usual order (copied or as it is) or channels-last.
LAYOUTS = {
    "NCHW": lambda x: x.chunk(2, dim=1)[0].contiguous(),
    "NCHW_half": lambda x: x.chunk(2, dim=1)[0],
    "channels_last": lambda x: x.chunk(2, dim=1)[0].contiguous(memory_format=torch.channels_last),
}


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="per comparison")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--out", type=Path, default=RECORD)
    args = parser.parse_args()
    torch.manual_seed(0)
    rows: dict[str, dict[str, float]] = {}
    for layout, padding, size, axis, regime, batch in itertools.product(
        args.layouts, ("circular", "zeros"), args.sizes, ("height", "width"), REGIMES, BATCHES
    ):
        case = Case(layout=layout, padding=padding, size=size, axis=axis, regime=regime, batch=batch)
        rows[case.name] = measure(case, seconds=args.seconds, device=args.device)
        print(f"{case.name:43}", *(f"{form} {value:<7}" for form, value in rows[case.name].items()), flush=True)
    values = {
        "conv_ms": "median",
        "others": "how many times faster than the conv form, see parckit.measure.interleaved",
        "rows": rows,
    }
    write_record(args.out, "circular", values, seed=0, threads=torch.get_num_threads())


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One kind of convolution: what it runs on and when."""

    layout: str
    padding: Padding
    size: int
    axis: Axis
    regime: str
    batch: int

    @property
    def name(self) -> str:
        """What identifies the case in the record."""
        return f"{self.layout} {self.padding} {self.size} {self.axis} {self.regime} batch {self.batch}"


def measure(case: Case, *, seconds: float, device: str) -> dict[str, float]:
    """Time a case in every form, relative to the conv form."""
    channels = next(width for side, width in CHANNELS.items() if case.size <= side)
    taps = case.size if case.padding == "circular" else 2 * case.size - 1
    x = LAYOUTS[case.layout](torch.randn(case.batch, 2 * channels, case.size, case.size, device=device))
    weight = torch.randn(channels, 1, *along(taps, case.axis), device=device) / taps**0.5
    runs = REGIMES[case.regime](x, weight, case)
    times = interleave({form: finished(run, device=device) for form, run in runs.items()}, seconds=seconds)
    speedups = {form: compare_times(times["conv"], times[form]).speedup for form in times if form != "conv"}
    rounded = {form: round(speedup, 2) for form, speedup in speedups.items()}
    return {"conv_ms": round(statistics.median(times["conv"]) * 1e3, 4), **rounded}


def constant(x: Tensor, weight: Tensor, case: Case) -> Mapping[str, Callable[[], object]]:
    """Run forward without gradients, with a kernel that never changes."""
    modules = {
        form: ConstantAxisConv2d(weight, None, axis=case.axis, padding=case.padding, length=case.size, form=form)
        for form in FORMS
    }
    return {form: no_grad(lambda module=module: module(x)) for form, module in modules.items()}


def built(x: Tensor, weight: Tensor, case: Case) -> Mapping[str, Callable[[], object]]:
    """Run forward without gradients, with a kernel that is passed at every call."""
    return {
        form: no_grad(lambda form=form: axis_conv(x, weight, axis=case.axis, padding=case.padding, form=form))
        for form in FORMS
    }


def training(x: Tensor, weight: Tensor, case: Case) -> Mapping[str, Callable[[], object]]:
    """Run forward and backward."""
    x, weight = x.requires_grad_(), weight.requires_grad_()
    grad = torch.randn_like(x)

    def step(form: str) -> None:
        out = axis_conv(x, weight, axis=case.axis, padding=case.padding, form=form)
        torch.autograd.grad(out, (x, weight), grad)

    return {form: lambda form=form: step(form) for form in FORMS}


REGIMES = {"constant": constant, "built": built, "training": training}


def no_grad(run: Callable[[], object]) -> Callable[[], None]:
    """Wrap a callable so that it runs without gradients."""

    def inner() -> None:
        with torch.no_grad():
            run()

    return inner


def finished(run: Callable[[], object], *, device: str) -> Callable[[], None]:
    """Wrap a callable so that it waits until a GPU has finished."""

    def inner() -> None:
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    return inner


if __name__ == "__main__":
    main()
