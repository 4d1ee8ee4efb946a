"""The converter to Core ML (`.mlpackage`) from a traced network, with coremltools.

It was written after the documentation of coremltools 9. Only macOS runs its files, so nobody has checked their numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision, sha256_of
from parckit.deploy.convert.program import without_warnings, write_program
from parckit.deploy.convert.source import Source
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output

with capturing_native_output(), without_warnings():
    import coremltools  # pyright: ignore[reportMissingImports]

PACKAGE = "model.mlpackage"
"""A folder of files."""
_MANIFEST = "Manifest.json"
_INPUT = "image"


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Write a fused network to an ML program.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the package.
        settings: what was asked for.
        precision: of the weights and of the arithmetic.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if coremltools cannot convert the network.
    """
    package, precisions = folder / PACKAGE, coremltools.precision

    def write(network: nn.Module, example: Tensor) -> None:
        program = coremltools.convert(
            torch.jit.trace(network, example, check_trace=False),
            inputs=[coremltools.TensorType(name=_INPUT, shape=tuple(example.shape))],
            outputs=[coremltools.TensorType(name=output.name) for output in source.outputs],
            convert_to="mlprogram",
            compute_precision=precisions.FLOAT16 if precision == "fp16" else precisions.FLOAT32,
            skip_model_load=True,
        )
        program.save(str(package))

    described = write_program(
        source,
        package / _MANIFEST,
        write,
        tool="coremltools",
        image=_INPUT,
        settings=settings,
        precision=precision,
        file_format="coreml",
    )
    # The manifest comes first, because it is the file that stands for the package.
    files = sorted((file for file in package.rglob("*") if file.is_file()), key=lambda file: file.name != _MANIFEST)
    return replace(described, files={file.relative_to(folder).as_posix(): sha256_of(file) for file in files})
