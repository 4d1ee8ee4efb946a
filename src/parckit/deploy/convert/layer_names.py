"""Names of nodes: a node is called after the module that it comes from, so that people find it in their network."""

import ast
import itertools

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
    taken = _names_in(graph)
    for node in graph:
        scopes = node.metadata_props.get(_SCOPES)
        if scopes is None:
            continue
        # The last scope is the operation itself. An operation of the whole network has no module.
        module = ["", *ast.literal_eval(scopes)[:-1]][-1]
        _name(node, f"{module.removeprefix(_WRAPPER)}/{node.op_type}", taken)


def name_by_neighbour(graph: ir.Graph) -> None:
    """Name nodes that graph passes have made.

    What they compute often keeps its name in a pass. Else they get the module of a node beside them.
    """
    taken = _names_in(graph)
    for node in reversed(graph):
        if node.name and "/" in node.name:
            continue
        readers = [reader.name for reader in node.outputs[0].consumers()]
        inputs = [value.name for value in node.inputs if value is not None]
        names = [name for name in (node.outputs[0].name, *readers, *inputs) if name and "/" in name]
        module = names[0].rpartition("/")[0] if names else ""
        _name(node, f"{module}/{node.op_type}", taken)


def _names_in(graph: ir.Graph) -> set[str]:
    """Return the names of all nodes and values, also of those in the branches of nodes."""
    nodes = list(graph.all_nodes())
    values = (value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None)
    return {one.name for one in (*nodes, *values) if one.name}


def _name(node: ir.Node, name: str, taken: set[str]) -> None:
    """Give a node and its values a name; a number behind it makes it different from those that are taken."""
    taken.difference_update(value.name for value in node.outputs if value.name)
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    node.name = next(one for one in numbered if one not in taken)
    taken.add(node.name)
    for number, value in enumerate(node.outputs):
        if not value.is_graph_output():
            value.name = node.name if number == 0 else f"{node.name}:{number}"
