"""Networks as torch programs, from which LiteRT, ExecuTorch, AOTInductor and Core ML start."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn

from parckit.contract import Artefact, InputSpec, Precision, sha256_of, shorten_message
from parckit.deploy.convert.axis_forms import PROGRAM_AUTO, set_axis_forms
from parckit.deploy.convert.source import Source
from parckit.deploy.convert.split_kernels import split_kernels
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings
from parckit.runtimes.native_output import capturing_native_output


def write_program(
    source: Source,
    path: Path,
    write: Callable[[nn.Module, Tensor], object],
    *,
    tool: str,
    image: str = "image",
    settings: ExportSettings,
    precision: Precision,
    file_format: str,
) -> Artefact:
    """Write a file from a source with a converter, and return the file's description.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        path: the file.
        write: writes the file from the network and a batch of images.
        tool: what an error calls the converter.
        image: name of the input.
        settings: what was asked for.
        precision: of the file.
        file_format: of the file.

    Raises:
        ExportError: if the converter cannot convert the network.
    """
    example = _prepare(source, settings=settings)
    try:
        with capturing_native_output(), without_warnings():
            write(source.network, example)
    except Exception as error:  # converters raise errors of many classes
        raise ExportError(f"{tool} cannot convert the network ({shorten_message(error)})") from error
    return _describe(
        source, path, example, image=image, settings=settings, precision=precision, file_format=file_format
    )


def _prepare(source: Source, *, settings: ExportSettings) -> Tensor:
    """Give the network of a source its exported form, and return a batch of images for a trace."""
    set_axis_forms(source.network, "matmul" if settings.form == "matmul" else PROGRAM_AUTO)
    split_kernels(source.network, longest=settings.longest_kernel, limits=settings.conv_limits)
    for parameter in source.network.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's argument is positional
    return torch.zeros(settings.batch_size, *source.image_shape)


def _describe(
    source: Source,
    path: Path,
    example: Tensor,
    *,
    image: str,
    settings: ExportSettings,
    precision: Precision,
    file_format: str,
) -> Artefact:
    """Return the description of a file that was made of a source and a batch of images."""
    with torch.no_grad():
        made = source.network(example)
    tensors = (made,) if isinstance(made, Tensor) else made
    return Artefact(
        name=f"{file_format}-{precision}",
        format=file_format,
        precision=precision,
        files={path.name: sha256_of(path)},
        input=InputSpec(name=image, shape=tuple(example.shape)),
        outputs=tuple(
            replace(output, shape=tuple(tensor.shape)) for output, tensor in zip(source.outputs, tensors, strict=True)
        ),
        decoder=source.decoder,
        options=settings.options,
    )


@contextmanager
def without_warnings() -> Generator[None]:
    """Pass over the warnings of converters: they are for the makers of torch, and a wrong file fails its check."""
    with catch_warnings():
        simplefilter("ignore")
        yield
