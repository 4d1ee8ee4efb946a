"""Checks that an ONNX file is as requested. The file is read back from disk; the exporter is not trusted."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from parckit.deploy.errors import ExportError

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
"""Operators whose output is not constant even if their inputs are."""


def check_file(path: Path, *, opset: int, ir_version: int, free: Collection[str] = ()) -> ModelProto:
    """Return the file's model if it is valid and has the versions, static shapes, all weights and constant kernels.

    Args:
        path: the file.
        opset: wanted version of the operators.
        ir_version: wanted version of the format.
        free: names of the outputs whose first dimension depends on the image.

    Raises:
        ExportError: if the file is not so; the message names the fault.
    """
    model = onnx.load(path, load_external_data=False)
    # This check comes first. Otherwise the validity check would only report that files with weights are missing.
    _check_weights_inside(model)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path.name}: not valid ONNX: {' '.join(str(error).split())}") from error
    _check_versions(model, opset, ir_version)
    _check_static(model.graph, free)
    _check_kernels(model.graph)
    return model


def shape_of(value: ValueInfoProto) -> tuple[int, ...]:
    """Return a tensor's shape; a dynamic dimension is 0."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _check_versions(model: ModelProto, opset: int, ir_version: int) -> None:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": opset}:
        raise ExportError(f"the file uses opsets {opsets}, requested was only opset {opset} of the standard domain")
    if model.ir_version != ir_version:
        raise ExportError(f"the file has IR version {model.ir_version}, requested was {ir_version}")


def _check_static(graph: GraphProto, free: Collection[str]) -> None:
    for value in (*graph.input, *graph.output):
        shape = shape_of(value)
        if value.name in free and shape[:1] == (0,):
            shape = (1, *shape[1:])
        if not shape or min(shape) < 1:
            raise ExportError(f"{value.name!r} has a dynamic shape {shape}, where 0 is a free dimension")


def _check_weights_inside(model: ModelProto) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ExportError(f"weight {tensor.name!r} is stored outside the file")


def _check_kernels(graph: GraphProto) -> None:
    """Refuse convolutions whose kernel depends on the image: few runtimes and no INT8 tool accept them."""
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS and node.input[1] not in constant:
            raise ExportError(f"{node.op_type} {node.name!r} has a dynamic kernel, {node.input[1]!r}")
        # Nodes are in topological order, so one pass over the graph finds all constants.
        if node.op_type not in _RANDOM and all(name in constant for name in node.input if name):
            constant.update(node.output)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for attribute in _attributes(graph.node):
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.GRAPH:
            yield from _tensors(attribute.g)


def _attributes(nodes: Sequence[NodeProto]) -> Iterator[AttributeProto]:
    for node in nodes:
        yield from node.attribute
