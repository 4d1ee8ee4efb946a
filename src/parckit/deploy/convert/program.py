"""Networks as torch programs, from which LiteRT, ExecuTorch and AOTInductor start."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from parckit.contract import Artefact, InputSpec, Precision, sha256_of
from parckit.deploy.convert.axis_forms import set_axis_forms
from parckit.deploy.convert.source import Source
from parckit.deploy.settings import ExportSettings


def prepare(source: Source, *, settings: ExportSettings) -> Tensor:
    """Give the network of a source its exported form, and return a batch of images for a trace.

    `"auto"` is the form of ONNX Runtime; it is `"conv"` here, because these engines have fast convolutions.
    """
    set_axis_forms(source.network, "matmul" if settings.form == "matmul" else "conv")
    for parameter in source.network.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's argument is positional
    return torch.zeros(settings.batch_size, *source.image_shape)


def describe_program(
    source: Source, path: Path, *, image: str, settings: ExportSettings, precision: Precision, file_format: str
) -> Artefact:
    """Return the description of a file made from a source.

    Args:
        source: the network, prepared.
        path: the file.
        image: name of the input.
        settings: what was asked for.
        precision: of the file.
        file_format: of the file.
    """
    example = torch.zeros(settings.batch_size, *source.image_shape)
    with torch.no_grad():
        made = source.network(example)
    tensors = (made,) if isinstance(made, Tensor) else made
    options: Mapping[str, object] = {"form": settings.form}
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
        options=options,
    )


@contextmanager
def without_warnings() -> Generator[None]:
    """Pass over the warnings of converters: they are for the makers of torch, and a wrong file fails its check."""
    with catch_warnings():
        simplefilter("ignore")
        yield
