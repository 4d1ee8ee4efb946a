"""The converter to TensorRT (`.plan`): torch to ONNX, and ONNX to a plan for the graphics processor of this machine.

It was written after the documentation of TensorRT 10, and nobody has run it yet.
"""

# Where the package is absent, the type checker takes this file for it.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tensorrt  # pyright: ignore[reportMissingImports]

from parckit.contract import Artefact, NetworkSpec, OutputSpec, Precision, sha256_of
from parckit.deploy.convert.half import write_in_half
from parckit.deploy.convert.onnx import describe_graph, shared_graph
from parckit.deploy.convert.source import Source
from parckit.deploy.errors import ExportError
from parckit.deploy.settings import ExportSettings

FILE = "model.plan"
_HALF = "half.onnx"


def refuses(
    spec: NetworkSpec, outputs: Sequence[OutputSpec], *, settings: ExportSettings, precision: Precision
) -> str | None:
    """Return the reason why a network cannot be converted so; None if it can."""
    del spec, outputs, settings, precision
    return None


def convert(source: Source, *, folder: Path, settings: ExportSettings, precision: Precision) -> Artefact:
    """Build a plan of a fused network.

    Args:
        source: the network. It is changed: its convolutions along an axis get the exported form.
        folder: folder of the file.
        settings: how to write the ONNX file that TensorRT starts from.
        precision: of the arithmetic. The plan has the types of the ONNX file.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if TensorRT cannot read the ONNX file or build the plan.
    """
    graph, path = shared_graph(source, settings=settings), folder / FILE
    described = describe_graph(graph, source, settings=settings, precision=precision)
    if precision == "fp16":
        write_in_half(graph, source.work / _HALF)
        graph = source.work / _HALF
    path.write_bytes(_build(graph))
    return replace(described, name=f"tensorrt-{precision}", format="tensorrt", files={FILE: sha256_of(path)})


def _build(graph: Path) -> bytes:
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        faults = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT {tensorrt.__version__} cannot read the ONNX file ({faults})")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # it rounds float32 to 10 bits
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {tensorrt.__version__} cannot build the plan")
    return bytes(plan)
