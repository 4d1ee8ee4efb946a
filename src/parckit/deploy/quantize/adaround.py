"""AdaRound (Nagel et al., arXiv:2004.10568): learn for every weight of a layer whether it is rounded up or down.

Rounding to the nearest number makes the error of every weight smallest, not that of the layer's output. Here the output
decides: a rectified sigmoid h(v) in [0, 1] says how far every weight moves up from the number below, gradient descent
minimises the squared error of the output on calibration activations, and a regulariser that grows in time pushes every
h(v) to 0 or 1 (section 3.3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from parckit.deploy.quantize.constants import set_constant, sole_constant
from parckit.deploy.quantize.grids import LARGEST_STEP, weight_grid
from parckit.deploy.quantize.histograms import Images, run_activations
from parckit.deploy.quantize.layers import convolve
from parckit.deploy.quantize.qdq import weight_axis
from parckit.deploy.quantize.scheme import Scheme

TrackNodes = Callable[[Iterable[ir.Node]], Iterable[ir.Node]]
"""Returns the nodes that it gets, and may show the progress of the work."""

_ZETA, _GAMMA = 1.1, -0.1
"""Ends between which the rectified sigmoid stretches, from the paper."""
_BETA = (20.0, 2.0)
"""Exponent of the regulariser at its beginning and at the end, from the paper."""
_WEIGHT = 0.01
"""Weight of the regulariser, from the paper."""
_WARM = 0.2
"""Share of the steps before the regulariser begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaRoundSettings:
    """How roundings are learned.

    Attributes:
        steps: steps of gradient descent for every layer.
        pictures: calibration pictures whose activations are used.
        batch_size: pictures of a step.
        learning_rate: of Adam.
        seed: chooses the pictures of every step.
    """

    steps: int = 500
    pictures: int = 64
    batch_size: int = 16
    learning_rate: float = 1e-2
    seed: int = 0


_USUAL = AdaRoundSettings()


def learn_roundings(
    model: ir.Model,
    scheme: Scheme,
    groups: Sequence[Images],
    *,
    settings: AdaRoundSettings = _USUAL,
    track: TrackNodes = iter,
) -> Scheme:
    """Round the weights of all quantized convolutions in a graph; return the scheme with their scales.

    Args:
        model: the prepared float graph, which is changed: its weights lie on their grids afterwards.
        scheme: how it will be quantized.
        groups: calibration images, each group as the graph takes it.
        settings: how roundings are learned.
        track: gets the nodes, one after the other.
    """
    proto, scales = ir.to_proto(model), dict(scheme.weight_scales)
    few = groups[: max(1, settings.pictures // len(groups[0]))]
    nodes = [node for node in model.graph if node.op_type == "Conv" and scheme.bits.get(node.name or "")]
    for node in track(nodes):
        value, source, weights = node.inputs[1], node.inputs[0], sole_constant(node, 1)
        if value is None or source is None or weights is None:
            continue
        inputs = np.concatenate([array for _, array in run_activations(proto, few, tensors={source.name or "": ()})])
        grid = weight_grid(weights, axis=weight_axis(node), scales=scales.get(value.name or ""))
        rounded = round_layer(weights, grid.scale, inputs, node=node, settings=settings)
        set_constant(model, node, 1, rounded)
        scales[value.name or ""] = tuple(map(float, grid.scale))
    return replace(scheme, weight_scales=scales)


def round_layer(
    weights: NDArray[np.float32],
    scale: NDArray[np.float32],
    inputs: NDArray[np.float32],
    *,
    node: ir.Node,
    settings: AdaRoundSettings,
) -> NDArray[np.float32]:
    """Return the weights of a convolution, rounded so that its output on activations changes least.

    Shape:
        weights: (out, in / groups, kh, kw); scale: (out,); inputs: (B, in, h, w)
    """
    generator = torch.Generator().manual_seed(settings.seed)
    images, kernel = torch.from_numpy(inputs), torch.from_numpy(np.array(weights))
    steps_of = torch.from_numpy(np.array(scale)).reshape(-1, 1, 1, 1)
    below = torch.floor(kernel / steps_of)
    # The beginning is the float weight: h(v) is its distance from the number below.
    share = (kernel / steps_of - below).clamp(1e-4, 1 - 1e-4)
    logits = torch.logit((share - _GAMMA) / (_ZETA - _GAMMA)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=settings.learning_rate)
    with torch.no_grad():
        expected = convolve(images, kernel, node)
    size = expected.square().mean()
    for step in range(settings.steps):
        picked = torch.randint(len(images), (min(settings.batch_size, len(images)),), generator=generator)
        up = (torch.sigmoid(logits) * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
        soft = (below + up).clamp(-LARGEST_STEP, LARGEST_STEP) * steps_of
        loss = (convolve(images[picked], soft, node) - expected[picked]).square().mean() / size
        loss = loss + _regulariser(up, share_done=step / settings.steps)
        optimizer.zero_grad()
        cast("Callable[[], None]", loss.backward)()
        optimizer.step()
    hard = (below + (torch.sigmoid(logits.detach()) >= 0.5)).clamp(-LARGEST_STEP, LARGEST_STEP) * steps_of
    nearest = torch.round(kernel / steps_of).clamp(-LARGEST_STEP, LARGEST_STEP) * steps_of
    # A layer on which the descent did not help keeps the nearest numbers.
    errors = [(convolve(images, candidate, node) - expected).square().mean() for candidate in (hard, nearest)]
    return (hard if errors[0] <= errors[1] else nearest).numpy()


def _regulariser(up: Tensor, *, share_done: float) -> Tensor:
    """Return how far the roundings are from 0 and 1; zero at the beginning."""
    if share_done < _WARM:
        return up.new_zeros(())
    first, last = _BETA
    exponent = last + (first - last) * (1 - (share_done - _WARM) / (1 - _WARM))
    return _WEIGHT * (1 - (2 * up - 1).abs().pow(exponent)).mean()
