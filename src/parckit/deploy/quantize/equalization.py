"""Equalize channels: divide each by a factor where a layer writes it, and multiply by it where a layer reads it.

One range fits all channels of a tensor badly if few of them are large. But a channel may be divided by any positive
number if all layers that read it multiply by the number again; their weights can do both. So the network stays the
same, and nothing is added at run time.

Nagel et al. (arXiv:1906.04721, section 4.1) do this between two convolutions with nothing or a ReLU between them. Here
it is done for whole families of tensors. The sums along a residual path have the same factors, and every convolution
that adds to them or reads them gets other weights. Products with matrices along height or width, as in position-aware
circular convolutions, and products with a gate belong to a family, too.

A factor is sqrt(r / w), where r says how large a channel is on the calibration pictures, and w how large the weights
that read it are (Xiao et al., SmoothQuant, arXiv:2211.10438, equation 4). Every output of a layer has a scale for its
weights, so w is taken as a share of the largest weight of the same output.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import name_of, set_constant, sole_constant
from parckit.deploy.quantize.histograms import Images, Track, float_tensors, run_activations
from parckit.deploy.quantize.layers import groups_of

_PASSING = ("AveragePool", "GlobalAveragePool", "MaxPool", "Relu", "Resize")
"""Operators that give channel i, times s, for channel i times s."""
_CROP = "tf_crop_and_resize"
"""Resize fills with a number of its own then, which has no factor."""
_MAP = 4
"""Dimensions of a map: picture, channel, row, column."""
_MOST = 1e3
"""Largest factor, and one over the smallest: a channel that is nearly zero on all calibration pictures gets no larger
one."""

_log = logging.getLogger(__name__)

Place = tuple[ir.Node, int]
"""A node and the index of its input."""
Factors = NDArray[np.float64]
"""(channels,)"""


@dataclass(kw_only=True, slots=True)
class _Family:
    """Tensors whose channels must have the same factors.

    Attributes:
        tensors: name -> tensor.
        writers: convolutions that write the channels.
        readers: convolutions that read them.
        added: constants that are added to them.
    """

    tensors: dict[str, ir.Value] = field(default_factory=dict[str, ir.Value])
    writers: dict[str, ir.Node] = field(default_factory=dict[str, ir.Node])
    readers: dict[str, ir.Node] = field(default_factory=dict[str, ir.Node])
    added: dict[tuple[str, int], Place] = field(default_factory=dict[tuple[str, int], Place])


def equalize(model: ir.Model, groups: Sequence[Images], *, track: Track = iter) -> int:
    """Equalize the channels of all families of a graph; return the number of families.

    Args:
        model: the prepared float graph, which is changed.
        groups: calibration images, each group as the graph takes it.
        track: gets the groups.
    """
    families = list(_families(model))
    if not families:
        _log.info("equalize: nothing can be equalized, because functions other than ReLU stand between all layers")
        return 0
    wanted = {name for family in families for name in family.tensors}
    proto = ir.to_proto(model)
    tensors = {name: shape for name, shape in float_tensors(proto).items() if name in wanted}
    largest: dict[str, Factors] = {}
    for name, array in run_activations(proto, groups, tensors=tensors, track=track):
        here = np.abs(array).max(axis=(0, 2, 3)).astype(np.float64)
        largest[name] = np.maximum(largest.get(name, 0.0), here)
    # A convolution may write one family and read another, so all factors come from the weights as they are now.
    factors = [_factors(family, largest) for family in families]
    for family, numbers in zip(families, factors, strict=True):
        _apply(model, family, numbers)
    return len(families)


def _factors(family: _Family, largest: Mapping[str, Factors]) -> Factors:
    """Return by how much every channel of a family is divided."""
    numbers = _shares(np.max([largest[name] for name in family.tensors], axis=0))
    weights = [_shares(_read_weights(node)) for node in family.readers.values() if groups_of(node) == 1]
    # The weights of depthwise convolutions have a scale for each channel, so their sizes do not count. The root is
    # taken there, too: otherwise a channel that is silent on the calibration pictures would be enlarged most.
    read = np.max(weights, axis=0) if weights else np.ones_like(numbers)
    used = (numbers > 0) & (read > 0)
    factors = np.ones_like(numbers)
    factors[used] = np.clip(np.sqrt(numbers[used] / read[used]), 1 / _MOST, _MOST)
    return factors


def _shares(numbers: Factors) -> Factors:
    """Return numbers as shares of the largest; zeros if all are zero."""
    return numbers / (numbers.max() or 1.0)


def _read_weights(node: ir.Node) -> Factors:
    """Return the largest weight with which a convolution reads every channel, as a share of its output's largest.

    The weights of an output have a scale of their own.
    """
    weights = np.abs(_constant(node, 1)).astype(np.float64)
    largest = weights.max(axis=(1, 2, 3), keepdims=True)
    return np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0).max(axis=(0, 2, 3))


def _apply(model: ir.Model, family: _Family, factors: Factors) -> None:
    """Divide the channels of a family where they are written, and multiply where they are read."""
    for node in family.writers.values():
        set_constant(model, node, 1, _constant(node, 1) / factors[:, None, None, None])
        bias = sole_constant(node, 2)
        if bias is not None:
            set_constant(model, node, 2, bias / factors)
    for node, place in family.added.values():
        set_constant(model, node, place, _constant(node, place) / factors[:, None, None])
    for node in family.readers.values():
        along = factors[:, None, None] if groups_of(node) == 1 else factors[:, None, None, None]
        set_constant(model, node, 1, _constant(node, 1) * along)


def _constant(node: ir.Node, place: int) -> NDArray[np.float32]:
    numbers = sole_constant(node, place)
    if numbers is None:
        raise ValueError(f"{node.name}: has no constant of its own at input {place}")
    return numbers


def _families(model: ir.Model) -> Iterator[_Family]:
    """Yield the families of a graph. No tensor is in two."""
    seen: set[str] = set()
    changing = _changing(model)
    for node in model.graph:
        value = node.outputs[0]
        if node.op_type != "Conv" or name_of(value) in seen:
            continue
        search = _Search(changing)
        is_free = search.follow(value)
        seen |= search.family.tensors.keys()
        if is_free and search.family.readers:
            yield search.family


def _changing(model: ir.Model) -> set[str]:
    """Return the names of the tensors that depend on the image."""
    names = {name_of(value) for value in model.graph.inputs}
    for node in model.graph:
        if any(name_of(value) in names for value in node.inputs):
            names |= {name_of(value) for value in node.outputs}
    return names


@final
class _Search:
    """Finds the family of a tensor.

    Args:
        changing: names of the tensors that depend on the image.
    """

    def __init__(self, changing: set[str]) -> None:
        self.family = _Family()
        self._changing = changing

    def follow(self, start: ir.Value) -> bool:
        """Collect the family of a tensor; return whether its channels may have factors."""
        is_free, waiting = True, [start]
        while waiting:
            value = waiting.pop()
            if name_of(value) in self.family.tensors:
                continue
            self.family.tensors[name_of(value)] = value
            producer = value.producer()
            nodes = [(node, place) for node, place in value.uses()]
            is_free &= not value.is_graph_output() and producer is not None and len(value.shape or ()) == _MAP
            if producer is not None and not self._takes_writer(producer):
                nodes.append((producer, -1))
            for node, place in nodes:
                if place == 0 and self._takes_reader(node):
                    continue
                tied = self._tied(node, value)
                is_free &= bool(tied)
                waiting += tied
        return is_free

    def _takes_writer(self, node: ir.Node) -> bool:
        """Take a node into the family if its weights can divide the channels that it writes; return whether."""
        is_one = node.op_type == "Conv" and sole_constant(node, 1) is not None
        has_shared_bias = len(node.inputs) > 2 and node.inputs[2] is not None and sole_constant(node, 2) is None
        if is_one and not has_shared_bias:
            self.family.writers[node.name or ""] = node
        return is_one and not has_shared_bias

    def _takes_reader(self, node: ir.Node) -> bool:
        """Take a node into the family if its weights can multiply the channels that it reads; return whether."""
        weights = sole_constant(node, 1) if node.op_type == "Conv" else None
        groups = groups_of(node) if weights is not None else 0
        is_one = weights is not None and (groups == 1 or (weights.shape[1] == 1 and groups == weights.shape[0]))
        if is_one:
            self.family.readers[node.name or ""] = node
        return is_one

    def _tied(self, node: ir.Node, value: ir.Value) -> list[ir.Value]:
        """Return the tensors of a node that have the factors of one of them; none if that one cannot have any."""
        inputs = [one for one in node.inputs if one is not None]
        changing = [one for one in inputs if name_of(one) in self._changing]
        if node.op_type in _PASSING and node.attributes.get_string("coordinate_transformation_mode", "") != _CROP:
            tied = changing
        elif node.op_type == "Add":
            constants = [(node, place) for place, one in enumerate(inputs) if one not in changing]
            if any(sole_constant(*place) is None for place in constants):
                return []
            self.family.added |= {(node.name or "", place): (node, place) for _, place in constants}
            tied = changing
        elif node.op_type == "Mul":
            # One of the two is a gate, with one number a channel. The product of two maps would have both factors.
            tied = [one for one in changing if list(one.shape or ())[2:] != [1, 1]]
            tied = tied if len(tied) == 1 else []
        elif node.op_type == "MatMul" and len(changing) == 1:
            matrices = next(one for one in inputs if one not in changing)
            tied = changing if len(matrices.shape or ()) >= _MAP - 1 else []
        else:
            tied = []
        tied = [*tied, node.outputs[0]] if tied else []
        is_whole = all(_channels(one) == _channels(value) for one in tied)
        return tied if is_whole and any(one is value for one in tied) else []


def _channels(value: ir.Value) -> object:
    shape = list(value.shape or ())
    return shape[1] if len(shape) == _MAP else None
