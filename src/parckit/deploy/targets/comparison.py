"""Compare an ONNX graph with the published limits of a board."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from onnx import ModelProto, NodeProto

from parckit.deploy.targets.inventory import OperatorUse, Tensors, ints_of, list_operators, tensors_of
from parckit.deploy.targets.target import Target

Place = Literal["NPU", "CPU", "supported", "not supported"]


def place_of(operator: str, target: Target) -> Place:
    """Return where the board runs an operator whose limits are kept."""
    if operator in target.operators:
        return "supported" if target.on_cpu is None else "NPU"
    return "CPU" if operator in (target.on_cpu or ()) else "not supported"


def find_violations(model: ModelProto, target: Target) -> tuple[str, ...]:
    """Return what in a graph the board does not support, in one line each; nothing if its limits are kept."""
    tensors = tensors_of(model)
    uses = list_operators(model.graph, tensors)
    return (
        *_of_the_file(model, tensors, target),
        *(line for use in uses for line in _of_an_operator(use, target)),
        *_of_convolutions(model, target),
    )


def _of_the_file(model: ModelProto, tensors: Tensors, target: Target) -> Iterator[str]:
    """Compare versions, inputs and outputs."""
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    lowest, highest = target.opsets
    if not lowest <= opset <= highest:
        yield f"opset {opset}: it takes {lowest} to {highest}"
    if target.highest_ir is not None and model.ir_version > target.highest_ir:
        yield f"IR version {model.ir_version}: it takes {target.highest_ir} at most"
    if target.most_outputs is not None and len(model.graph.output) > target.most_outputs:
        yield f"{len(model.graph.output)} outputs: it takes {target.most_outputs} at most"
    for value in model.graph.input:
        shape = tensors.shapes[value.name]
        if 0 in shape:
            yield f"input {value.name}: a size is free; it takes fixed sizes"
        elif shape[0] != target.batch_size:
            yield f"input {value.name}: {shape[0]} images at once; it takes {target.batch_size}"
        if target.input_dims not in (None, len(shape)):
            yield f"input {value.name}: {len(shape)} dimensions; it takes {target.input_dims}"


def _of_an_operator(use: OperatorUse, target: Target) -> Iterator[str]:
    if place_of(use.operator, target) == "not supported":
        yield f"{use.operator}: not supported ({use.count} times in the graph)"
        return
    longest, rank = target.kernels.get(use.operator), target.rank_of(use.operator)
    if longest is not None and max(use.kernel, default=0) > longest:
        yield f"{use.operator}: a kernel of {' x '.join(map(str, use.kernel))}; the longest side may be {longest}"
    if rank is not None and use.rank > rank:
        yield f"{use.operator}: a tensor with {use.rank} dimensions; it takes {rank} at most"
    others = sorted(set(use.types) - (target.types or set(use.types)))
    if others:
        yield f"{use.operator}: tensors of {', '.join(others)}; it takes {', '.join(sorted(target.types or ()))}"


def _of_convolutions(model: ModelProto, target: Target) -> Iterator[str]:
    """Compare what only convolutions have. For every limit, the convolution that exceeds it most is named."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    limits: Mapping[str, tuple[int | None, Callable[[NodeProto], int]]] = {
        "a stride of": (target.conv.stride, lambda node: max(ints_of(node, "strides"), default=1)),
        "a padding of": (target.conv.padding, lambda node: max(ints_of(node, "pads"), default=0)),
        "a dilation of": (target.conv.dilation, lambda node: max(ints_of(node, "dilations"), default=1)),
        "channels of a group:": (target.conv.channels, lambda node: _channels(node, sizes)),
        "weights of an output channel:": (target.conv.weights, lambda node: _weights(node, sizes)),
    }
    for what, (limit, measure) in limits.items():
        largest = max(map(measure, convolutions), default=0)
        if limit is not None and largest > limit:
            yield f"Conv: {what} {largest}; {limit} at most"


def _channels(node: NodeProto, sizes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the input or the output channels of one group, whichever are more."""
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    outputs, inputs = sizes[node.input[1]][:2]
    return max(outputs // groups, inputs)


def _weights(node: NodeProto, sizes: Mapping[str, tuple[int, ...]]) -> int:
    inputs, height, width = sizes[node.input[1]][1:]
    return inputs * height * width
