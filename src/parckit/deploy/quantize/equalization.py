"""Cross-layer equalization (Nagel et al., arXiv:1906.04721, section 4.1).

Between two convolutions, with nothing or a ReLU between them, channel i may be divided by any positive s_i if the
second convolution multiplies it by s_i again: relu(x / s) * s = relu(x). The factor s_i = sqrt(r1_i / r2_i), where r1_i
and r2_i are the largest weights of channel i in the first and in the second convolution, makes both equal, so that one
range fits all channels of the activation better.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import only_reader, set_constant, sole_constant

_SWEEPS = 20
"""Passes over all pairs: a convolution in the middle of three belongs to two pairs, which change each other."""
_CONVERGED = 1e-3
"""If no factor differs from 1 by more, the sweeps end."""
_MOST = 1e3
"""Largest factor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Two convolutions, one after the other."""

    first: ir.Node
    second: ir.Node

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel of the second convolution sees one channel of the first."""
        return self.second.attributes.get_int("group", 1) > 1


def equalize(model: ir.Model) -> int:
    """Balance the channels of all pairs of convolutions; return the number of pairs."""
    pairs = list(_pairs(model))
    for _ in range(_SWEEPS):
        changes = [_balance(model, pair) for pair in pairs]
        if max(changes, default=0.0) < _CONVERGED:
            break
    return len(pairs)


def _pairs(model: ir.Model) -> Iterator[_Pair]:
    for first in model.graph:
        if first.op_type != "Conv" or sole_constant(first, 1) is None or not _bias_is_free(first):
            continue
        second = only_reader(first.outputs[0])
        if second is not None and second.op_type == "Relu":
            second = only_reader(second.outputs[0])
        if second is None or second.op_type != "Conv":
            continue
        weights = sole_constant(second, 1)
        groups = second.attributes.get_int("group", 1)
        if weights is not None and (groups == 1 or (weights.shape[1] == 1 and groups == weights.shape[0])):
            yield _Pair(first=first, second=second)


def _bias_is_free(node: ir.Node) -> bool:
    """Return whether a node has no bias, or one that no other node reads."""
    return len(node.inputs) < 3 or node.inputs[2] is None or sole_constant(node, 2) is not None


def _balance(model: ir.Model, pair: _Pair) -> float:
    """Balance the channels between two convolutions; return the largest change, 0 for none."""
    first, second = sole_constant(pair.first, 1), sole_constant(pair.second, 1)
    if first is None or second is None:
        return 0.0
    axis = 0 if pair.is_depthwise else 1
    ours, theirs = _largest(first, 0), _largest(second, axis)
    used = (ours > 0) & (theirs > 0)
    factor = np.ones(len(ours))
    factor[used] = np.clip(np.sqrt(ours[used] / theirs[used]), 1 / _MOST, _MOST)
    set_constant(model, pair.first, 1, first / _along(factor, first.ndim, 0))
    bias = sole_constant(pair.first, 2)
    if bias is not None:
        set_constant(model, pair.first, 2, bias / factor)
    set_constant(model, pair.second, 1, second * _along(factor, second.ndim, axis))
    return float(np.abs(np.log(factor)).max())


def _largest(weights: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    others = tuple(other for other in range(weights.ndim) if other != axis)
    return np.abs(weights.astype(np.float64)).max(axis=others)


def _along(numbers: NDArray[np.float64], dims: int, axis: int) -> NDArray[np.float64]:
    shape = [1] * dims
    shape[axis] = -1
    return numbers.reshape(shape)
