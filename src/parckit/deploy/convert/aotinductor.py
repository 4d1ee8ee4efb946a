"""The converter to AOTInductor (`.pt2`): torch compiles the network to machine code of this processor."""

import os
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision
from parckit.deploy.convert.program import describe_program, prepare, without_warnings
from parckit.deploy.convert.source import Source
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output

FILE = "model.pt2"
_REASON_CHARS = 300


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
    example, path = prepare(source, settings=settings), folder / FILE
    try:
        with capturing_native_output(), without_warnings():
            aoti_compile_and_package(torch.export.export(source.network, (example,)), package_path=os.fspath(path))
    except Exception as error:  # it raises errors of many classes
        reason = textwrap.shorten(str(error), _REASON_CHARS)
        raise ExportError(f"torch cannot compile the network ({reason})") from error
    return describe_program(
        source, path, image="image", settings=settings, precision=precision, file_format="aotinductor"
    )
