"""A kit: the folder that a board's own compiler starts from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from parckit.contract import Artefact, ChannelOrder, InputError, InputSpec, NetworkSpec, Preprocessing
from parckit.deploy.targets.inventory import tensors_of

BUNDLE = "bundle"
"""Folder of the bundle in a kit."""
_NORMALISATION_DIGITS = 9
"""Digits of a mean or a scale. float32 has no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """What a configuration can name of an ONNX graph.

    Attributes:
        path: the file.
        nodes: names of the nodes, in their order.
        edges: name of a node -> its first input that is no constant, and its first output.
        tensors: names of the tensors that are no constants.
        inputs: name of an input -> its shape; 0 for a free size.
        outputs: names of the outputs.
    """

    path: Path
    nodes: tuple[str, ...]
    edges: Mapping[str, tuple[str, str]]
    tensors: frozenset[str]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file.

    Raises:
        InputError: if it is missing, or is no ONNX file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's error is of a class that it does not publish
        raise InputError(f"{path}: is no ONNX file") from error
    return graph_of(model, path)


def graph_of(model: ModelProto, path: Path) -> Graph:
    """Return what a configuration can name of an ONNX graph, which is in the file `path`."""
    shapes, graph = tensors_of(model).shapes, model.graph
    constant = {tensor.name for tensor in graph.initializer}
    edges = {
        node.name: (next((name for name in node.input if name and name not in constant), ""), node.output[0])
        for node in graph.node
    }
    made = {name for node in graph.node for name in node.output}
    inputs = {value.name: shapes[value.name] for value in graph.input if value.name not in constant}
    return Graph(
        path=path,
        nodes=tuple(node.name for node in graph.node),
        edges=edges,
        tensors=frozenset(made | inputs.keys()),
        inputs=inputs,
        outputs=tuple(value.name for value in graph.output),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KitContent:
    """What a kit is made of.

    Attributes:
        spec: the network.
        artefact: its ONNX file, which the compiler takes.
        graph: the graph in it.
        raised: names of the nodes that get more bits than 8, each with the reason.
        calibration: paths of the calibration files in the kit.
        name: of the compiler's result, without ending.
    """

    spec: NetworkSpec
    artefact: Artefact
    graph: Graph
    raised: Mapping[str, str]
    calibration: tuple[str, ...]
    name: str

    @property
    def model(self) -> str:
        """Path of the ONNX file in the kit."""
        return f"{BUNDLE}/{self.artefact.main_file}"


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """What a compiler's configuration names, to be compared with the files.

    Attributes:
        graph: the ONNX file.
        nodes: setting -> names of nodes in it.
        tensors: setting -> names of tensors in it.
        inputs: names of the graph's inputs; empty if it leaves them to the compiler.
        shapes: shapes of the inputs; empty if it leaves them to the compiler.
        channels_last: whether it says that the graph takes (N, H, W, C).
        channels: number of channels of a picture; None if the input is no picture.
        even_sides: whether height and width must be even.
        normalisation: setting -> its numbers, one for all channels or one for each.
        words: setting -> its word, such as the order of the channels.
        calibration: calibration files; None if it uses none.
        numbers: bytes of a number in a calibration file; None if they are pictures.
        faults: what is wrong in the configuration itself.
    """

    graph: Path
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    tensors: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    inputs: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    channels_last: bool = False
    channels: int | None = None
    even_sides: bool = False
    normalisation: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    calibration: tuple[Path, ...] | None = None
    numbers: int | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """What a board's compiler makes.

    Attributes:
        format: format of the artefact.
        suffix: ending of the file.
        engines: names of the engines that run it; the first one is that of a new system.
    """

    format: str
    suffix: str
    engines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """How the kit of a board is made and read. A board is one of these, and nothing else.

    Attributes:
        target: name of the board in the table of targets.
        configuration: name of the file with the compiler's settings, which is also how a kit is recognised.
        orders: order of the channels -> folder of the calibration files. An order that is not here is refused.
        suffix: ending of a calibration file.
        write_picture: writes the pixels of a picture, (H, W, C), in the network's order of the channels.
        normalisation: returns setting -> its numbers, for each channel.
        words: returns setting -> its word, for settings that follow from the preprocessing.
        configure: returns the files of the kit that depend on the network: name -> text.
        read: returns what a configuration names. It may be one that others wrote.
        templates: files that are the same in every kit but for `$name`.
        compiled: what the compiler makes.
    """

    target: str
    configuration: str
    orders: Mapping[ChannelOrder, str]
    suffix: str
    write_picture: Callable[[NDArray[np.uint8], Path], None]
    normalisation: Callable[[Preprocessing], Mapping[str, tuple[float, ...]]]
    words: Callable[[Preprocessing], Mapping[str, str]]
    configure: Callable[[KitContent], Mapping[str, str]]
    read: Callable[[Path], References]
    templates: tuple[str, ...]
    compiled: Compiled

    def input_of(self, artefact: Artefact) -> InputSpec:
        """Return the input of the compiled network: pixels from 0 to 255, because the normalisation is inside."""
        count, channels, height, width = artefact.input.shape
        shape = (count, height, width, channels)
        return InputSpec(name=artefact.input.name, dtype="uint8", layout="NHWC", shape=shape, normalised_inside=True)


def in_pixels(values: Sequence[float], scale: float = 255) -> tuple[float, ...]:
    """Return numbers for values from 0 to 1 as those for pixels from 0 to 255."""
    return tuple(rounded(value * scale) for value in values)


def rounded(value: float) -> float:
    """Return a number with as many digits as float32 has."""
    return float(f"{value:.{_NORMALISATION_DIGITS}g}")
