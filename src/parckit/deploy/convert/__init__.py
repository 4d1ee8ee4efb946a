"""The table of converters: which module writes a network for which engine.

The names of the engines are those of the table of engines in `parckit.runtimes`. Torch needs no converter because it
opens checkpoints.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from torch import nn

from parckit.contract import Artefact, DecoderSpec, NetworkSpec, OutputSpec
from parckit.deploy.settings import ExportSettings

CONVERTERS: Mapping[str, str] = {"onnxruntime": "parckit.deploy.convert.onnx"}
"""Name of the engine -> module with `convert` and `refuses`. The module is imported only when it is used."""

__all__ = ["CONVERTERS", "Converter", "load_converter"]


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
