"""The table of converters: which module writes a network for which engine.

The names of the engines are those of the table of engines in `parckit.runtimes`. Torch needs no converter because it
opens checkpoints.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from torch import nn

from parckit.contract import Artefact, DecoderSpec, NetworkSpec, OutputSpec, begin_with_batch
from parckit.deploy.settings import ExportSettings

CONVERTERS: Mapping[str, str] = {"onnxruntime": "parckit.deploy.convert.onnx"}
"""Name of the engine -> module with `convert` and `refuses`. The module is imported only when it is used."""

_RUNS_DETECTIONS = ("onnxruntime",)
"""Engines on which two-stage detectors are promised. How much these compute depends on the image."""

__all__ = ["CONVERTERS", "Converter", "load_converter", "refusal"]


class Converter(Protocol):
    """The functions of a converter's module."""

    def refuses(self, spec: NetworkSpec, outputs: Sequence[OutputSpec]) -> str | None:
        """Return the reason why the engine cannot run a network; None if it can."""
        ...

    def convert(
        self,
        network: nn.Module,
        spec: NetworkSpec,
        *,
        decoder: DecoderSpec,
        folder: Path,
        settings: ExportSettings,
    ) -> Artefact:
        """Write a fused network to a folder, and return the artefact's description."""
        ...


def load_converter(engine: str) -> Converter:
    """Import the converter of an engine."""
    return cast("Converter", import_module(CONVERTERS[engine]))


def refusal(engine: str, spec: NetworkSpec, outputs: Sequence[OutputSpec]) -> str | None:
    """Return the reason why an engine cannot run a network with these outputs; None if it can."""
    if engine not in _RUNS_DETECTIONS and not begin_with_batch(outputs):
        return f"the head {spec.head} needs sizes that depend on the image; it runs on {', '.join(_RUNS_DETECTIONS)}"
    return load_converter(engine).refuses(spec, outputs)
