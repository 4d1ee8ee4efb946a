"""The converter to ncnn: torch to ONNX, and ONNX to ncnn with pnnx."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pnnx  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision, sha256_of
from parckit.deploy.convert.onnx import describe_graph, description_of, shared_graph
from parckit.deploy.convert.source import Source
from parckit.deploy.convert.tools import run_tool
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings

LAYERS, WEIGHTS = "model.param", "model.bin"
INPUT = "in0"
"""pnnx calls the inputs in0, in1 and so on."""
_FIRST_LAYER = 2
"""Line of the first layer; before it are a magic number and the numbers of layers and blobs."""


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, precision
    if settings.batch_size != 1:
        return f"batch_size={settings.batch_size}: ncnn takes one image at once"
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Write a fused network to the two files of ncnn.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the files.
        settings: how to write the ONNX file that pnnx starts from.
        precision: `"fp16"` stores the weights in half precision, and ncnn computes in it where the processor can.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if torch's exporter or pnnx cannot convert the network, or ncnn has no layer for an operator.
    """
    graph = shared_graph(source, settings=settings)
    shape = (settings.batch_size, *source.image_shape)
    write_with_pnnx(graph, shape, folder=folder, in_half=precision == "fp16")
    described = describe_graph(graph, source, settings=settings, precision=precision)
    artefact = replace(described, name=f"ncnn-{precision}", format="ncnn", input=replace(described.input, name=INPUT))
    describe_layers(folder / LAYERS, source.spec, artefact)
    return replace(artefact, files={file: sha256_of(folder / file) for file in (LAYERS, WEIGHTS)})


def write_with_pnnx(graph: Path, shape: Sequence[int], *, folder: Path, in_half: bool = False) -> None:
    """Write an ONNX graph to the two files of ncnn.

    Args:
        graph: the file of the graph.
        shape: shape of its input.
        folder: folder of the two files.
        in_half: whether to store the weights in half precision.

    Raises:
        ExportError: if pnnx cannot convert it, or ncnn has no layer for an operator.
    """
    with TemporaryDirectory() as work:  # pnnx writes more files than we need
        copy = Path(shutil.copy(graph, work))
        options = (f"inputshape=[{','.join(map(str, shape))}]", f"fp16={int(in_half)}")
        targets = (f"ncnnparam={folder / LAYERS}", f"ncnnbin={folder / WEIGHTS}")
        command = (pnnx.EXEC_PATH, str(copy), *options, *targets)
        run_tool(command, name="pnnx", folder=Path(work), makes=folder / WEIGHTS)
    _refuse_unknown_layers(folder / LAYERS)


def describe_layers(path: Path, spec: NetworkSpec, artefact: Artefact) -> None:
    """Write a description, as JSON, behind the layers. ncnn reads only as many lines as the file's head says."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"# {json.dumps(description_of(spec, artefact))}\n")


def _refuse_unknown_layers(path: Path) -> None:
    """Refuse operators that pnnx left as they were; ncnn has no such layers, and could not load the file."""
    kinds = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()[_FIRST_LAYER:]]
    if unknown := sorted({kind for kind in kinds if "." in kind or "::" in kind}):
        raise ExportError(f"ncnn has no layer for {', '.join(unknown)}; choose another engine")
