"""The converter to ExecuTorch (`.pte`) for XNNPACK, its backend for CPUs."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.program import without_warnings, write_program
from parckit.deploy.convert.source import Source
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output

with capturing_native_output(), without_warnings():
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # pyright: ignore[reportMissingImports]
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]

FILE = "model.pte"

logging.getLogger("executorch").setLevel(logging.ERROR)


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Write a fused network to a `.pte` file.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: what was asked for.
        precision: of the file.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if ExecuTorch cannot convert the network.
    """
    path = folder / FILE

    def write(network: nn.Module, example: Tensor) -> None:
        program = torch.export.export(network, (example,))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

    return write_program(
        source, path, write, tool="ExecuTorch", settings=settings, precision=precision, file_format="executorch"
    )
