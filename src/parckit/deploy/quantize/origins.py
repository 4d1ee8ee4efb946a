"""Which nodes of the float file the nodes of a prepared graph stand for.

Preparation replaces nodes, and the new ones have names of their own. But the tensors between replaced parts keep their
names. So a new node stands for the nodes of the file that compute the next tensor that both graphs have, from the last
tensors that both graphs have. A board's compiler knows nodes only by their names in the file.
"""

from collections.abc import Collection

import onnx
import onnx_ir as ir


def find_origins(model: ir.Model, file: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return the names of the file's nodes that every node of a prepared graph stands for, in the file's order.

    A node that stands for itself is left out, and so are those of the file that compute with constants only.

    Args:
        model: the prepared graph. All nodes have names.
        file: the graph in the file that it was prepared from.
    """
    makers = _makers(file.graph)
    order = {node.name: place for place, node in enumerate(file.graph.node)}
    kept = {value.name or "" for node in model.graph for value in node.outputs}
    origins: dict[str, tuple[str, ...]] = {}
    for node in model.graph:
        names = {name for end in _ends(node, makers) for name in _before(end, makers, kept=kept)}
        if names != {node.name}:
            origins[node.name or ""] = tuple(sorted(names, key=lambda name: order[name]))
    return origins


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return name of a tensor -> the node that makes it, for tensors that depend on the image."""
    constants = {tensor.name for tensor in graph.initializer}
    varying = {value.name for value in graph.input} - constants
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if varying.intersection(node.input):
            varying.update(node.output)
            makers.update(dict.fromkeys(node.output, node))
    return makers


def _ends(node: ir.Node, makers: Collection[str]) -> set[str]:
    """Return the next tensors behind a node, or its own outputs, that the file has, too."""
    ends: set[str] = set()
    waiting = [*node.outputs]
    while waiting:
        value = waiting.pop()
        if value.name in makers:
            ends.add(value.name or "")
        else:
            waiting += [output for reader, _ in value.uses() for output in reader.outputs]
    return ends


def _before(end: str, makers: dict[str, onnx.NodeProto], *, kept: set[str]) -> set[str]:
    """Return the names of the nodes that compute a tensor of the file from tensors that the prepared graph has."""
    names: set[str] = set()
    waiting = [end]
    while waiting:
        node = makers[waiting.pop()]
        if node.name not in names:
            names.add(node.name)
            waiting += [name for name in node.input if name in makers and name not in kept]
    return names
