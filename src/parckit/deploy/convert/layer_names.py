"""Names of nodes: a node is called after the module that it comes from, so that people find it in their network."""

import ast
import itertools
from collections.abc import Mapping

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from parckit.models import FUSED_PREFIX

Scopes = tuple[str, ...]
"""Names of the modules around a node, the outermost first."""

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's new exporter writes the modules around a node, the outermost first, and the name of the operation."""


def name_by_module(graph: ir.Graph, modules: Mapping[Scopes, set[str]]) -> None:
    """Name nodes and what they compute `MODULE/OPERATOR`, such as `stages.2.0.conv/Conv`.

    Profiles and sensitivities show these names, and engines make the names of their layers of them. Operations of the
    whole network are called `/OPERATOR`. Inputs and outputs of the graph keep their names. So do, from the old
    exporter, nodes in the branches of nodes, and nodes that may come from several modules.

    Args:
        graph: as an exporter has written it.
        modules: from `modules_by_scopes`; empty for the new exporter, which writes whole paths.
    """
    taken = _names_in(graph)
    for node in graph:
        paths = _paths_of(node, modules)
        if len(paths) == 1:
            # The dot makes the wrapper itself, too, begin with its prefix.
            module = f"{min(paths)}.".removeprefix(FUSED_PREFIX).removesuffix(".")
            _name(node, f"{module}/{node.op_type}", taken)


def _paths_of(node: ir.Node, modules: Mapping[Scopes, set[str]]) -> set[str]:
    """Return the paths of the modules that a node may come from."""
    if (scopes := node.metadata_props.get(_SCOPES)) is not None:
        # The last scope is the operation itself.
        return {["", *ast.literal_eval(scopes)[:-1]][-1]}
    # The old exporter calls nodes `/SCOPE/SCOPE/OPERATOR`.
    parts = (node.name or "").split("/")
    return modules.get(tuple(parts[1:-1]), set()) if len(parts) > 1 else set()


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


@torch.no_grad()
def modules_by_scopes(network: nn.Module, images: Tensor) -> dict[Scopes, set[str]]:
    """Run a network, and return which modules the old exporter means by the scopes of a node.

    It calls a module by the end of its path that begins at the last name that is no number, such as `stages.0.0`. So
    several modules may have the same scopes.

    Returns:
        Names of the modules that run around an operation, the outermost first -> paths of the innermost one.
    """
    running: list[str] = []
    modules: dict[Scopes, set[str]] = {}
    handles: list[RemovableHandle] = []

    def watch(path: str, module: nn.Module) -> None:
        def begin(_module: nn.Module, _inputs: object) -> None:
            running.append(path)
            modules.setdefault(tuple(_scope_of(one) for one in running if one), set()).add(path)

        def end(_module: nn.Module, _inputs: object, _output: object) -> None:
            running.pop()

        handles.extend((module.register_forward_pre_hook(begin), module.register_forward_hook(end)))

    for path, module in network.named_modules():
        watch(path, module)
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return modules


def _scope_of(path: str) -> str:
    """Return what the old exporter calls a module."""
    names = path.split(".")
    first = max((index for index, name in enumerate(names) if not name.isnumeric()), default=0)
    return ".".join(names[first:])


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
