"""Bias correction (Nagel et al., arXiv:1906.04721, section 4.2), with means measured on the calibration pictures.

Rounded weights w + e change the mean of an output by that of a convolution of the input with e. A convolution is
linear, so this is the convolution of the mean input. The bias takes this error back, channel by channel.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from parckit.deploy.quantize.constants import constant_of, name_of, set_constant, sole_constant
from parckit.deploy.quantize.grids import weight_grid
from parckit.deploy.quantize.histograms import Images, Track, float_tensors, run_activations
from parckit.deploy.quantize.layers import convolve
from parckit.deploy.quantize.qdq import weight_axis
from parckit.deploy.quantize.scheme import Scheme


def correct_biases(
    model: ir.Model, scheme: Scheme, groups: Sequence[Images], *, original: onnx.ModelProto, track: Track = iter
) -> int:
    """Correct the biases of all quantized convolutions; return how many were corrected.

    Args:
        model: the prepared float graph, which is changed. Its weights may be rounded already.
        scheme: how it will be quantized.
        groups: calibration images, each group as the graph takes it.
        original: the same graph before its weights were rounded.
        track: gets the groups.
    """
    nodes = [node for node in model.graph if node.op_type == "Conv" and scheme.bits.get(node.name or "")]
    means = _mean_inputs(original, {name_of(node.inputs[0]) for node in nodes}, groups, track=track)
    floats = {constant.name: constant for constant in original.graph.initializer}
    corrected = 0
    for node in nodes:
        weights, bias = constant_of(node.inputs[1]), sole_constant(node, 2)
        has_shared_bias = len(node.inputs) > 2 and node.inputs[2] is not None and bias is None
        if weights is None or has_shared_bias:
            continue
        name, axis = name_of(node.inputs[1]), weight_axis(node)
        grid = weight_grid(weights, axis=axis, scales=scheme.weight_scales.get(name))
        error = grid.round(weights, axis=axis).astype(np.float64) - numpy_helper.to_array(floats[name])
        shift = mean_shift(error, means[name_of(node.inputs[0])], node=node)
        set_constant(model, node, 2, (0.0 if bias is None else bias) - shift, name=f"{node.name}_bias")
        corrected += 1
    return corrected


def mean_shift(error: NDArray[np.float64], mean: NDArray[np.float64], *, node: ir.Node) -> NDArray[np.float64]:
    """Return by how much errors of weights change the means of a convolution's outputs.

    Shape:
        error: (out, in / groups, kh, kw); mean: (in, h, w), the mean input; returns (out,)
    """
    outputs = convolve(torch.from_numpy(mean)[None], torch.from_numpy(error), node)
    return outputs.mean(dim=(0, 2, 3)).numpy()


def _mean_inputs(
    model: onnx.ModelProto, names: set[str], groups: Sequence[Images], *, track: Track
) -> dict[str, NDArray[np.float64]]:
    """Return the mean over all pictures of activations, (channels, height, width)."""
    tensors = {name: shape for name, shape in float_tensors(model).items() if name in names}
    sums: dict[str, NDArray[np.float64]] = {}
    for name, array in run_activations(model, groups, tensors=tensors, track=track):
        sums[name] = sums.get(name, 0.0) + array.mean(axis=0, dtype=np.float64)
    return {name: total / len(groups) for name, total in sums.items()}
