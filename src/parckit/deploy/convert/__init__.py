"""The table of converters: how a network gets to each engine, by the names of the table of engines in `runtimes`.

Torch needs no converter, because it opens checkpoints.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from torch import nn

from parckit.contract import Artefact, NetworkSpec, OutputSpec
from parckit.deploy.settings import ExportSettings

CONVERTERS: Mapping[str, str] = {"onnxruntime": "parckit.deploy.convert.onnx"}
"""Name of the engine -> module with `convert` and `refuses`; imported only when it is used."""

__all__ = ["CONVERTERS", "Converter", "load_converter"]


class Converter(Protocol):
    """What a converter's module offers."""

    def refuses(self, spec: NetworkSpec, outputs: Sequence[OutputSpec]) -> str | None:
        """Return why the engine cannot run a network; None if it can."""
        ...

    def convert(self, network: nn.Module, spec: NetworkSpec, *, folder: Path, settings: ExportSettings) -> Artefact:
        """Write a fused network into a folder, and describe what was written."""
        ...


def load_converter(engine: str) -> Converter:
    """Import the converter of an engine."""
    return cast("Converter", import_module(CONVERTERS[engine]))
