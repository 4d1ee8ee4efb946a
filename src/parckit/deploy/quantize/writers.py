"""The table of writers: which module writes an int8 network for which engine."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from parckit.contract import Artefact, InputError
from parckit.deploy.convert import naming_extra
from parckit.deploy.quantize.source import QuantizationSource
from parckit.runtimes import find_engine

ONNX, LITERT = "parckit.deploy.quantize.onnx", "parckit.deploy.quantize.litert"
"""The modules that write ONNX files, and files of LiteRT."""
FLOAT_LITERT = "tflite-fp32"
"""The artefact that LiteRT's quantizer starts from."""
WRITERS: Mapping[str, str] = {
    "onnxruntime": ONNX,
    "openvino": ONNX,
    "mnn": "parckit.deploy.quantize.mnn",
    "ncnn": "parckit.deploy.quantize.ncnn",
    "litert": LITERT,
}
"""Name of an engine -> module with its `write`; imported only when it is used."""


_WITH_OWN_GRAPHS = ("parckit.deploy.quantize.mnn", "parckit.deploy.quantize.ncnn")
"""Writers that do not start from the graph that ONNX Runtime gets. That of LiteRT takes nothing of the graph."""


class Writer(Protocol):
    """The function of a writer's module."""

    def write(self, source: QuantizationSource, *, folder: Path) -> Artefact:
        """Write the files of a network in int8 into a folder, and return the artefact, not yet checked."""
        ...


def plan_writers(engines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return module of a writer -> the engines that share what it writes.

    Raises:
        InputError: if an engine is unknown or runs no int8.
        MissingExtraError: if the package that writes its files is not installed.
    """
    planned: dict[str, tuple[str, ...]] = {}
    for name in engines:
        if find_engine(name, option="engines").name not in WRITERS:
            raise InputError(f"engines={name}: runs no int8 that parckit writes; choose from {', '.join(WRITERS)}")
        load_writer(name)
        planned[WRITERS[name]] = (*planned.get(WRITERS[name], ()), name)
    return planned


def takes_onnx_graph(module: str) -> bool:
    """Return whether a writer takes the graph that is prepared for ONNX Runtime and OpenVINO."""
    return module not in _WITH_OWN_GRAPHS


def load_writer(engine: str) -> Writer:
    """Import the writer for an engine.

    Raises:
        MissingExtraError: if its package is not installed.
    """
    with naming_extra(f"int8 for {engine}", engine):
        return cast("Writer", import_module(WRITERS[engine]))
