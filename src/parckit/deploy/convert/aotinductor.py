"""The converter to AOTInductor (`.pt2`): torch compiles the network to machine code of this processor."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._inductor import aoti_compile_and_package

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.program import write_program
from parckit.deploy.convert.source import Source
from parckit.deploy.settings import ExportSettings

FILE = "model.pt2"


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"it needs a C++ compiler, and there is no {compiler}"


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Compile a fused network to a `.pt2` file, which runs on processors like this one.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: what was asked for.
        precision: of the file.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if torch cannot compile the network.
    """
    path = folder / FILE

    def write(network: nn.Module, example: Tensor) -> None:
        aoti_compile_and_package(torch.export.export(network, (example,)), package_path=os.fspath(path))

    return write_program(
        source, path, write, tool="torch", settings=settings, precision=precision, file_format="aotinductor"
    )
