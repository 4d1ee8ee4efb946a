"""Names of nodes: a node is called after the module that it comes from, so that people find it in their network."""

import ast
from collections import Counter

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's new exporter writes the modules around a node, the outermost first, and the name of the operation."""

_WRAPPER = "model."
"""`fuse` wraps a network in a module, under this name."""


def name_by_module(graph: ir.Graph) -> None:
    """Name nodes and what they compute `MODULE/OPERATOR`, such as `stages.2.0.conv/Conv`.

    Profiles and sensitivities show these names, and engines make the names of their layers of them. The nodes of the
    old exporter have such names already. Inputs and outputs of the graph keep their names.
    """
    counts = Counter[str | None]()
    for node in graph:
        scopes = node.metadata_props.get(_SCOPES)
        if scopes is None:
            continue
        # The last scope is the operation itself. An operation of the whole network has no module.
        module = ["", *ast.literal_eval(scopes)[:-1]][-1]
        _name(node, f"{module.removeprefix(_WRAPPER)}/{node.op_type}", counts)


def name_by_neighbour(graph: ir.Graph) -> None:
    """Name nodes that graph passes have made.

    What they compute often keeps its name in a pass. Else they get the module of a node beside them.
    """
    counts = Counter(node.name for node in graph)
    for node in reversed(graph):
        if node.name and "/" in node.name:
            continue
        readers = [reader.name for reader in node.outputs[0].consumers()]
        inputs = [value.name for value in node.inputs if value is not None]
        names = [name for name in (node.outputs[0].name, *readers, *inputs) if name and "/" in name]
        module = names[0].rpartition("/")[0] if names else ""
        _name(node, f"{module}/{node.op_type}", counts)


def _name(node: ir.Node, name: str, counts: Counter[str | None]) -> None:
    """Give a node and its values a name; the second node of this name gets `_2` behind it, and so on."""
    counts[name] += 1
    node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"
    for number, value in enumerate(node.outputs):
        if not value.is_graph_output():
            value.name = node.name if number == 0 else f"{node.name}:{number}"
