"""Fold the scales of layer norms into the matrices or 1x1 convolutions that follow.

A layer norm returns `scale * x + shift` for normalised numbers x. Scales differ much from channel to channel, so that a
range for all channels is too wide for most of them. The next layer computes `w . (scale * x + shift) + bias`, which is
`(w * scale) . x + (w . shift + bias)`: with the scales in its weights, which have a range for each output, the numbers
that are quantized are the normalised ones. The algebra is exact.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import ints_of, only_reader, set_constant, sole_constant

_SMALLEST_SHARE = 1e-3
"""A scale that is smaller than this share of the largest one is not divided by: its shift would become huge."""
_PASSING = ("Transpose",)
"""Operators between a norm and the next layer that move whole channels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """A layer after a norm.

    Attributes:
        node: the node with the weights.
        weights: its weights with the axis of the input channels first.
        axis: that axis in the stored weights.
        bias: node and input where a bias of each output channel is added; None if there is none.
    """

    node: ir.Node
    weights: NDArray[np.float32]
    axis: int
    bias: tuple[ir.Node, int] | None


def fold_norm_scales(model: ir.Model) -> int:
    """Fold the scales of layer norms; return how many were folded."""
    folded = 0
    for norm in model.graph:
        if norm.op_type == "LayerNormalization" and len(norm.inputs) > 1:
            folded += _fold(model, norm)
    return folded


def _fold(model: ir.Model, norm: ir.Node) -> bool:
    scale, shift = sole_constant(norm, 1), sole_constant(norm, 2)
    layers = _layers_after(norm.outputs[0])
    if scale is None or scale.ndim != 1 or not layers or (len(norm.inputs) > 2 and shift is None):
        return False
    factor = np.where(np.abs(scale) < _SMALLEST_SHARE * np.abs(scale).max(), 1.0, scale).astype(np.float64)
    if any(layer.weights.shape[0] != len(scale) for layer in layers):
        return False
    rest = np.zeros(len(scale)) if shift is None else shift.astype(np.float64)
    takes_shift = all(layer.bias is not None for layer in layers)
    for layer in layers:
        weights = layer.weights.astype(np.float64)
        if takes_shift and layer.bias is not None:
            node, place = layer.bias
            bias = sole_constant(node, place)
            added = np.tensordot(rest, weights, axes=1).reshape(-1)
            set_constant(model, node, place, (0 if bias is None else bias.astype(np.float64)) + added)
        scaled = weights * factor.reshape(-1, *[1] * (weights.ndim - 1))
        set_constant(model, layer.node, 1, np.moveaxis(scaled, 0, layer.axis))
    set_constant(model, norm, 1, scale / factor)
    if shift is not None:
        set_constant(model, norm, 2, np.zeros(len(scale)) if takes_shift else rest / factor)
    return True


def _layers_after(value: ir.Value) -> list[_Layer]:
    """Return the layers that read a norm; none if something else reads it, too."""
    layers: list[_Layer] = []
    if value.is_graph_output():
        return []
    for node, place in value.uses():
        if node.op_type in _PASSING:
            further = _layers_after(node.outputs[0])
            if not further:
                return []
            layers += further
            continue
        layer = _layer_of(node, place)
        if layer is None:
            return []
        layers.append(layer)
    return layers


def _layer_of(node: ir.Node, place: int) -> _Layer | None:
    """Return a node as a layer whose input channels are the norm's; None if it is no such layer."""
    weights = sole_constant(node, 1)
    if place != 0 or weights is None:
        return None
    if node.op_type == "MatMul" and weights.ndim == 2:
        return _Layer(node=node, weights=weights, axis=0, bias=_bias_after(node, weights.shape[1]))
    if node.op_type == "Gemm" and not node.attributes.get_int("transA", 0):
        axis = 1 if node.attributes.get_int("transB", 0) else 0
        has_bias = sole_constant(node, 2) is not None
        return _Layer(node=node, weights=np.moveaxis(weights, axis, 0), axis=axis, bias=(node, 2) if has_bias else None)
    # With paddings, the shift would be missing at the borders.
    is_pointwise = node.op_type == "Conv" and weights.shape[2:] == (1, 1) and node.attributes.get_int("group", 1) == 1
    if is_pointwise and not any(ints_of(node, "pads", (0,))):
        has_bias = sole_constant(node, 2) is not None
        return _Layer(node=node, weights=np.moveaxis(weights, 1, 0), axis=1, bias=(node, 2) if has_bias else None)
    return None


def _bias_after(node: ir.Node, channels: int) -> tuple[ir.Node, int] | None:
    """Return the addition of a bias after a matrix product."""
    reader = only_reader(node.outputs[0])
    if reader is None or reader.op_type != "Add":
        return None
    for place in range(2):
        bias = sole_constant(reader, place)
        if bias is not None and bias.shape == (channels,):
            return reader, place
    return None
