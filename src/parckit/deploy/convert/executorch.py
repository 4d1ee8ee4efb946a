"""The converter to ExecuTorch (`.pte`) for XNNPACK, its backend for CPUs."""

import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.program import describe_program, prepare, without_warnings
from parckit.deploy.convert.source import Source
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output

with capturing_native_output(), without_warnings():
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # pyright: ignore[reportMissingImports]
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]

FILE = "model.pte"
_REASON_CHARS = 300

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
    example, path = prepare(source, settings=settings), folder / FILE
    try:
        with capturing_native_output(), without_warnings():
            program = torch.export.export(source.network, (example,))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
    except Exception as error:  # it raises errors of many classes
        reason = textwrap.shorten(str(error), _REASON_CHARS)
        raise ExportError(f"ExecuTorch cannot convert the network ({reason})") from error
    return describe_program(
        source, path, image="image", settings=settings, precision=precision, file_format="executorch"
    )
