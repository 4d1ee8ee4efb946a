"""Bias correction (Nagel et al., arXiv:1906.04721, section 4.2), with means measured on the calibration pictures.

Rounded weights w + e change the mean of an output by e . E[x], where E[x] are the means of the input channels. The bias
takes this error back, channel by channel. At the borders of padded convolutions it is an approximation.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import set_constant, sole_constant
from parckit.deploy.quantize.grids import weight_grid
from parckit.deploy.quantize.histograms import Images, Track, run_activations
from parckit.deploy.quantize.qdq import constant_of, weight_axis
from parckit.deploy.quantize.scheme import Scheme


def correct_biases(model: ir.Model, scheme: Scheme, groups: Sequence[Images], *, track: Track = iter) -> int:
    """Correct the biases of all quantized convolutions; return how many were corrected.

    Args:
        model: the prepared float graph, which is changed.
        scheme: how it will be quantized.
        groups: calibration images, each group as the graph takes it.
        track: gets the groups.
    """
    nodes = [node for node in model.graph if node.op_type == "Conv" and scheme.bits.get(node.name or "")]
    means = _channel_means(model, [node.inputs[0] for node in nodes], groups, track=track)
    corrected = 0
    for node in nodes:
        weights, bias = constant_of(node.inputs[1]), sole_constant(node, 2)
        has_shared_bias = len(node.inputs) > 2 and node.inputs[2] is not None and bias is None
        if weights is None or has_shared_bias:
            continue
        value = node.inputs[1]
        scales = None if value is None else scheme.weight_scales.get(value.name or "")
        axis = weight_axis(node)
        grid = weight_grid(weights, axis=axis, scales=scales)
        error = grid.round(weights, axis=axis).astype(np.float64) - weights
        source = node.inputs[0]
        mean = means["" if source is None else source.name or ""]
        shift = mean_shift(error, mean, groups=node.attributes.get_int("group", 1))
        set_constant(model, node, 2, (0.0 if bias is None else bias) - shift, name=f"{node.name}_bias")
        corrected += 1
    return corrected


def mean_shift(error: NDArray[np.float64], mean: NDArray[np.float64], *, groups: int) -> NDArray[np.float64]:
    """Return by how much errors of weights change the means of a convolution's outputs.

    Shape:
        error: (out, in / groups, kh, kw); mean: (in,); returns (out,)
    """
    outputs, inputs = error.shape[:2]
    by_group = mean.reshape(groups, inputs)
    sums = error.reshape(groups, outputs // groups, inputs, -1).sum(axis=-1)
    return np.einsum("goi,gi->go", sums, by_group).reshape(-1)


def _channel_means(
    model: ir.Model, values: Sequence[ir.Value | None], groups: Sequence[Images], *, track: Track
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of every channel of activations."""
    tensors = {
        value.name or "": tuple(side if isinstance(side, int) else 1 for side in value.shape or ())
        for value in values
        if value is not None
    }
    sums: dict[str, NDArray[np.float64]] = {}
    for name, array in run_activations(ir.to_proto(model), groups, tensors=tensors, track=track):
        mean = array.mean(axis=(0, *range(2, array.ndim)), dtype=np.float64)
        sums[name] = sums.get(name, 0.0) + mean
    return {name: total / len(groups) for name, total in sums.items()}
