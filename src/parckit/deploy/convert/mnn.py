"""The converter to MNN: torch to ONNX, and ONNX to MNN with the program of MNN's package."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision, sha256_of
from parckit.deploy.convert.half import round_to_half
from parckit.deploy.convert.onnx import describe_file, describe_graph, shared_graph
from parckit.deploy.convert.source import Source
from parckit.deploy.convert.tools import run_tool
from parckit.deploy.settings import ExportSettings

FILE = "model.mnn"
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""What MNN's command `mnnconvert` does, without the report of its use that the command sends to its makers."""

if find_spec("MNN") is None:
    raise ModuleNotFoundError("No module named 'MNN'", name="MNN")


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Write a fused network to an MNN file.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: how to write the ONNX file that MNN starts from.
        precision: `"fp16"` stores the weights in half precision; a processor that can computes in it, too.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if torch's exporter or MNN's converter cannot convert the network.
    """
    graph, path = shared_graph(source, settings=settings), folder / FILE
    described = describe_graph(graph, source, settings=settings, precision=precision)
    artefact = replace(described, name=f"mnn-{precision}", format="mnn")
    with TemporaryDirectory() as work:
        # MNN's converter copies the description of an ONNX file.
        copy = Path(shutil.copy(graph, work))
        describe_file(copy, source.spec, artefact)
        if precision == "fp16":
            round_to_half(copy)  # MNN cuts off the digits of weights
        convert_file(copy, path, folder=folder, options=("--fp16",) if precision == "fp16" else ())
    return replace(artefact, files={FILE: sha256_of(path)})


def convert_file(graph: Path, path: Path, *, folder: Path, options: Sequence[str] = ()) -> None:
    """Write an ONNX file to an MNN file.

    Args:
        graph: the ONNX file.
        path: the MNN file.
        folder: the folder in which MNN's converter runs.
        options: its options.

    Raises:
        ExportError: if it cannot convert the graph.
    """
    arguments = ["-f", "ONNX", "--modelFile", str(graph), "--MNNModel", str(path), "--bizCode", "parckit", *options]
    run_tool([sys.executable, "-c", _CONVERT, *arguments], name="MNN", folder=folder, makes=path)
