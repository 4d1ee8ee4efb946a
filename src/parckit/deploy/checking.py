"""Look at a network's graph before it is exported: its operators, and whether a board supports them."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from torch import nn

from parckit.contract import InputError, NetworkSpec
from parckit.deploy.convert import Source, source_of
from parckit.deploy.convert.onnx import shared_graph
from parckit.deploy.settings import ExportSettings
from parckit.deploy.targets import find_target
from parckit.deploy.targets.comparison import find_violations
from parckit.deploy.targets.inventory import OperatorUse, list_operators, tensors_of
from parckit.models import copy_model, fuse
from parckit.networks import check_input, float_network, open_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What the ONNX graph of a network has.

    Attributes:
        spec: describes the network.
        operators: its operators.
        violations: what the settings' board does not support, in one line each; empty without a board.
    """

    spec: NetworkSpec
    operators: tuple[OperatorUse, ...]
    violations: tuple[str, ...]


def open_network(checkpoint: Path | str, *, size: tuple[int, int] | None) -> tuple[nn.Module, NetworkSpec]:
    """Open a checkpoint for an export; see `parckit.deploy.export`."""
    network, spec = open_checkpoint(Path(checkpoint))
    if spec.quantization is not None and size not in (None, spec.preprocessing.size):
        height, width = spec.preprocessing.size
        raise InputError(f"{checkpoint}: has fake quantizers, which were trained for --size {height}x{width} alone")
    spec = spec if size is None else spec.with_size(size)
    check_input(network, spec)
    return network, spec


def inspect(checkpoint: Path | str, *, size: tuple[int, int] | None = None, settings: ExportSettings) -> Inspection:
    """Write the ONNX graph of a checkpoint into a temporary folder, and look at it. Nothing stays.

    Args:
        checkpoint: a `.ckpt` or `.safetensors` file, or the name of weights that ship with parckit.
        size: (height, width) of the graph's input, pixels; by default the checkpoint's.
        settings: how the graph is written, and the board to compare it with.

    Raises:
        InputError: if the checkpoint cannot be opened, or the network takes no images of this size.
        ExportError: if torch cannot write the graph.
    """
    network, spec = open_network(checkpoint, size=size)
    network = float_network(network, spec)
    with TemporaryDirectory() as work:
        fused = fuse(network.cpu().float().eval(), size=spec.preprocessing.size)
        model = _graph_of(source_of(fused, spec, work=Path(work)), settings)
    return Inspection(
        spec=spec,
        operators=list_operators(model.graph, tensors_of(model)),
        violations=() if settings.target is None else find_violations(model, find_target(settings.target)),
    )


def refuse_violations(source: Source, settings: ExportSettings) -> None:
    """Refuse a network that the settings' board does not support. The network is not changed.

    Raises:
        InputError: if the board does not support it. The message names everything that it does not support.
    """
    if settings.target is None:
        return
    if violations := find_violations(_graph_of(source, settings), find_target(settings.target)):
        raise InputError(f"target={settings.target}: {source.spec.backbone}: {'; '.join(violations)}")


def _graph_of(source: Source, settings: ExportSettings) -> onnx.ModelProto:
    return onnx.load(shared_graph(replace(source, network=copy_model(source.network)), settings=settings))
