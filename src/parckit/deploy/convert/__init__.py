"""The table of converters: which module writes a network for which engine.

The names of the engines are those of the table of engines in `parckit.runtimes`. Torch needs no converter because it
opens checkpoints.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from parckit.contract import Artefact, MissingExtraError, NetworkSpec, OutputSpec, Precision, begin_with_batch
from parckit.deploy.convert.axis_forms import PROGRAM_AUTO
from parckit.deploy.convert.source import Source, source_of
from parckit.deploy.settings import ExportSettings
from parckit.layers import Form
from parckit.runtimes import find_engine


@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterEntry:
    """Where a converter is.

    Attributes:
        module: module with `convert` and `refuses`; imported only when it is used.
        extra: extras of parckit that install what the module needs.
        auto_form: the form of convolutions along an axis that `"auto"` stands for.
    """

    module: str
    extra: str
    auto_form: Form = "auto"


CONVERTERS: Mapping[str, ConverterEntry] = {
    "onnxruntime": ConverterEntry(module="parckit.deploy.convert.onnx", extra="export"),
    "openvino": ConverterEntry(module="parckit.deploy.convert.onnx", extra="export"),
    "opencv": ConverterEntry(module="parckit.deploy.convert.onnx", extra="export"),
    "mnn": ConverterEntry(module="parckit.deploy.convert.mnn", extra="export,mnn"),
    "ncnn": ConverterEntry(module="parckit.deploy.convert.ncnn", extra="export-ncnn"),
    "litert": ConverterEntry(module="parckit.deploy.convert.litert", extra="export-litert", auto_form=PROGRAM_AUTO),
    "executorch": ConverterEntry(
        module="parckit.deploy.convert.executorch", extra="export,executorch", auto_form=PROGRAM_AUTO
    ),
    "aotinductor": ConverterEntry(module="parckit.deploy.convert.aotinductor", extra="export", auto_form=PROGRAM_AUTO),
    "coreml": ConverterEntry(module="parckit.deploy.convert.coreml", extra="export,coreml", auto_form=PROGRAM_AUTO),
    "tensorrt": ConverterEntry(module="parckit.deploy.convert.tensorrt", extra="export,tensorrt"),
    "hbm_runtime": ConverterEntry(module="parckit.deploy.convert.by_maker", extra="export"),
    "hobot_dnn": ConverterEntry(module="parckit.deploy.convert.by_maker", extra="export"),
    "rknn": ConverterEntry(module="parckit.deploy.convert.by_maker", extra="export"),
}
"""Name of the engine -> its converter."""

_RUNS_DETECTIONS = ("onnxruntime",)
"""Engines on which two-stage detectors are promised. How much these compute depends on the image."""

_ANY_BATCH = ("onnxruntime", "openvino")
"""Engines that take another number of images at every call."""

__all__ = [
    "CONVERTERS",
    "Converter",
    "ConverterEntry",
    "Source",
    "load_converter",
    "naming_extra",
    "refusal",
    "source_of",
]


class Converter(Protocol):
    """The functions of a converter's module."""

    def refuses(
        self, spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
    ) -> str | None:
        """Return the reason why a network cannot be converted so; None if it can."""
        ...

    def convert(self, source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
        """Write a fused network to an empty folder, and return the artefact's description."""
        ...


def load_converter(engine: str) -> Converter:
    """Import the converter of an engine.

    Raises:
        MissingExtraError: if its package is not installed.
    """
    with naming_extra(f"an export for {engine}", engine):
        return cast("Converter", import_module(CONVERTERS[engine].module))


@contextmanager
def naming_extra(what: str, engine: str) -> Generator[None]:
    """If a module is missing that writes files for an engine, name the extra that installs it.

    Args:
        what: what needs the module.
        engine: name of the engine.

    Raises:
        MissingExtraError: if the body raises ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or engine).partition(".")[0]
        raise MissingExtraError(what, package=package, extra=CONVERTERS[engine].extra) from error


def refusal(
    engine: str, spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why an engine cannot run a network with these outputs; None if it can."""
    if engine not in _RUNS_DETECTIONS and not begin_with_batch(outputs):
        return f"the head {spec.head} needs sizes that depend on the image; it runs on {', '.join(_RUNS_DETECTIONS)}"
    if precision not in find_engine(engine).precisions:
        return f"it runs {', '.join(find_engine(engine).precisions)}, not {precision}"
    if settings.dynamic_batch and engine not in _ANY_BATCH:
        return f"it takes a fixed number of images; dynamic_batch is for {', '.join(_ANY_BATCH)}"
    return load_converter(engine).refuses(spec, outputs, settings=settings, precision=precision)
