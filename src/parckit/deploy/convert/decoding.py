"""An ONNX file with the decoding of a network's raw maps inside the graph.

It is the file of the raw maps with nodes after them that do what the decoder in `parckit.processing` does. So both
files compute the same maps, in every opset.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from parckit.contract import (
    Artefact,
    DecoderSpec,
    DecodingOption,
    NetworkSpec,
    OutputSpec,
    begin_with_batch,
    sha256_of,
)
from parckit.deploy.convert.onnx import FILE, describe_file
from parckit.deploy.convert.onnx_check import check_file
from parckit.deploy.settings import ExportSettings

_FREE = "detections"
"""Name of a free dimension: only the number of boxes depends on the image."""
_TYPES = {"float32": ir.DataType.FLOAT, "int64": ir.DataType.INT64, "uint8": ir.DataType.UINT8}

NodeInput = ir.Value | NDArray[np.generic] | None
"""A value of the graph, a constant, or None for an optional input that is left out."""


class Graph:
    """Adds nodes and constants to a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._tape = Tape(graph)
        self._count = 0

    def add(self, operator: str, *inputs: NodeInput, **attributes: int | str | list[int]) -> ir.Value:
        """Add a node; arrays among its inputs become constants."""
        values = [self._constant(value) if isinstance(value, np.ndarray) else value for value in inputs]
        return self._tape.op(operator, values, attributes)

    def add_two(self, operator: str, *inputs: ir.Value) -> Sequence[ir.Value]:
        """Add a node with two outputs."""
        return self._tape.op_multi_out(operator, inputs, num_outputs=2)

    def slice(self, x: ir.Value, begin: int, end: int, *, axis: int) -> ir.Value:
        """Return x[begin:end] along an axis."""
        return self.add("Slice", x, *(np.array([number], np.int64) for number in (begin, end, axis)))

    def reshape(self, x: ir.Value, *shape: int) -> ir.Value:
        """Return x in another shape."""
        return self.add("Reshape", x, np.array(shape, np.int64))

    def _constant(self, array: NDArray[np.generic]) -> ir.Value:
        self._count += 1
        return self._tape.initializer(ir.tensor(array, name=f"decoding_{self._count}"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """What comes after the raw maps.

    Attributes:
        option: the export setting that asks for it, which is part of the artefact's name, too.
        add: adds the nodes after a network's outputs, and returns the new outputs.
        outputs: describes the new outputs.
        decoder: how the new outputs become an answer.
    """

    option: DecodingOption
    add: Callable[[Graph, Sequence[ir.Value]], Sequence[ir.Value]]
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec


def add_decoding(
    path: Path, artefact: Artefact, spec: NetworkSpec, decoding: Decoding, *, folder: Path, settings: ExportSettings
) -> Artefact:
    """Write a copy of an ONNX file of raw maps that returns something else.

    Args:
        path: the file of the raw maps.
        artefact: describes it.
        spec: the network.
        decoding: what comes after the maps.
        folder: folder of the new file.
        settings: how the file of the raw maps was written.

    Returns:
        The artefact, not yet checked on engines. Paths of its files are relative to `folder`.

    Raises:
        ExportError: if the file is not valid.
    """
    target = folder / FILE
    _write_graph(target, path, decoding)
    free = [output.name for output in decoding.outputs if not begin_with_batch([output])]
    check_file(target, opset=settings.onnx.opset, ir_version=settings.onnx.ir, free=free)
    decoded = replace(
        artefact,
        name=f"{artefact.name}-{decoding.option}",
        files={FILE: ""},  # known when the description is in the file
        outputs=decoding.outputs,
        decoder=decoding.decoder,
        options={**artefact.options, decoding.option: True},
        checks=(),
    )
    describe_file(target, spec, decoded)
    return replace(decoded, files={FILE: sha256_of(target)})


def _write_graph(target: Path, path: Path, decoding: Decoding) -> None:
    """Write the graph of a file with nodes after its outputs, whose results become the outputs."""
    model = ir.load(path)
    results = decoding.add(Graph(model.graph), model.graph.outputs)
    model.graph.outputs.clear()
    for value, output in zip(results, decoding.outputs, strict=True):
        value.name, value.dtype = output.name, _TYPES[output.dtype]
        value.shape = ir.Shape([size or _FREE for size in output.shape])
        model.graph.outputs.append(value)
    ir.save(model, target)
