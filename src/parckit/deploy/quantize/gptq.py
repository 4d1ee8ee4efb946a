"""GPTQ (Frantar et al., arXiv:2210.17323): round the weights of a layer so that its outputs change least.

The weights of an output are rounded one after the other. The error of each is handed to those that are still to round:
inputs of a layer are correlated, so another weight can take most of the error back. How much each of them takes follows
from the second moments of the inputs on calibration pictures (equation 2 of the paper, with the Cholesky form of its
section 3.3). If `correct_biases` follows, the moments are central, because an error that is the same everywhere is left
to the bias.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import final

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from parckit.deploy.quantize.constants import name_of, set_constant, sole_constant
from parckit.deploy.quantize.grids import LARGEST_STEP, weight_grid
from parckit.deploy.quantize.histograms import Images, Track, float_tensors, run_activations
from parckit.deploy.quantize.layers import groups_of, seen_by, size_of_output
from parckit.deploy.quantize.qdq import weight_axis
from parckit.deploy.quantize.saturation import LARGEST_PAIR
from parckit.deploy.quantize.scheme import Scheme

_DAMPING = 0.01
"""Share of the mean variance that is added to every variance, as in the paper (section 3.3)."""
_LEAST_ROWS = 4096
_ROWS_PER_WEIGHT = 4
"""Positions whose inputs are used: so many, and so many for each weight of an output."""
_BLOCK = 128
"""Weights after which the errors are handed on to all that follow; the paper's size."""
_MOST_NUMBERS = 1 << 26
"""Second moments that are collected at once (512 MB). The graph runs once for each such part."""


def round_by_gptq(
    model: ir.Model,
    scheme: Scheme,
    groups: Sequence[Images],
    *,
    corrects_biases: bool = True,
    avoid_saturation: bool = True,
    seed: int = 0,
    track: Track = iter,
) -> Scheme:
    """Round the weights of all quantized layers in a graph; return the scheme with their scales.

    Layers that see fewer positions than they have weights an output are left out, such as a classifier behind a global
    pooling: their moments are not known well enough.

    Args:
        model: the prepared float graph, which is changed: the weights lie on their grids afterwards.
        scheme: how it will be quantized.
        groups: calibration images, each group as the graph takes it.
        corrects_biases: whether `correct_biases` follows, which changes the biases of convolutions.
        avoid_saturation: whether no pair of weights may exceed what CPUs without VNNI add; see `saturation`.
        seed: chooses the positions.
        track: gets the groups of every run.
    """
    proto, scales = ir.to_proto(model), dict(scheme.weight_scales)
    pictures = sum(map(len, groups))
    layers = [
        _Layer(node, weights, pictures=pictures, seed=seed)
        for node in model.graph
        if scheme.bits.get(node.name or "") and (weights := _weights_of(node)) is not None
    ]
    for part in _parts(layers):
        for layer, moments in zip(part, _collect(part, proto, groups, track=track), strict=True):
            node, name = layer.node, name_of(layer.node.inputs[1])
            if moments.count < layer.size:
                continue
            scale = weight_grid(layer.weights, axis=weight_axis(node), scales=scales.get(name)).scale
            products = moments.products_of(central=corrects_biases and node.op_type == "Conv")
            rounded = layer.rounded(scale, products, avoid_saturation=avoid_saturation)
            set_constant(model, node, 1, rounded)
            scales[name] = tuple(map(float, scale))
    return replace(scheme, weight_scales=scales)


def round_rows(rows: Tensor, scales: Tensor, products: Tensor, *, second_of_pair: Sequence[bool] = ()) -> Tensor:
    """Round weights so that the error of the outputs is small.

    Args:
        rows: the weights of every output.
        scales: the step of every output.
        products: means of the products of two inputs, or their covariances.
        second_of_pair: for every weight, whether it and the one before must not exceed `LARGEST_PAIR` steps together.

    Shape:
        rows: (groups, out, in); scales: (groups, out, 1); products: (groups, in, in); returns (groups, out, in),
        whole multiples of the scales
    """
    size = rows.shape[-1]
    variance = products.diagonal(dim1=1, dim2=2).mean(dim=1)
    added = torch.where(variance > 0, _DAMPING * variance, 1.0)[:, None, None] * torch.eye(size, dtype=rows.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(products + added))
    shares = torch.linalg.cholesky(inverse, upper=True)
    rest, steps = rows / scales, torch.empty_like(rows)
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        errors = rest.new_zeros((*rest.shape[:2], end - begin))
        for place in range(begin, end):
            step = rest[..., place].round()
            if second_of_pair and second_of_pair[place]:
                before = steps[..., place - 1]
                step = step.clamp(-LARGEST_PAIR - before, LARGEST_PAIR - before)
            steps[..., place] = step.clamp(-LARGEST_STEP, LARGEST_STEP)
            error = (rest[..., place] - steps[..., place]) / shares[:, None, place, place]
            rest[..., place + 1 : end] -= error[..., None] * shares[:, None, place, place + 1 : end]
            errors[..., place - begin] = error
        rest[..., end:] -= errors @ shares[:, begin:end, end:]
    return steps * scales


@dataclass(kw_only=True, slots=True)
class _Moments:
    """Moments of what the outputs of a layer see.

    Attributes:
        sums: (groups, in) of the inputs.
        products: (groups, in, in) sums of the products of two inputs.
        count: number of positions.
    """

    sums: Tensor
    products: Tensor
    count: int = 0

    def add(self, rows: Tensor) -> None:
        """Add positions, (groups, positions, in)."""
        self.count += rows.shape[1]
        self.sums += rows.sum(dim=1, dtype=torch.float64)
        # In float32, a large mean would drown the variance.
        rows = rows.double()
        self.products += rows.mT @ rows

    def products_of(self, *, central: bool) -> Tensor:
        """Return the means of the products of two inputs, or their covariances, (groups, in, in)."""
        means, products = self.sums / self.count, self.products / self.count
        return products - means[:, :, None] * means[:, None, :] if central else products


@final
class _Layer:
    """A convolution or a matrix product.

    Args:
        node: its node.
        weights: its weights.
        pictures: number of calibration pictures.
        seed: chooses the positions.
    """

    def __init__(self, node: ir.Node, weights: NDArray[np.float32], *, pictures: int, seed: int) -> None:
        self.node, self.weights = node, weights
        self.groups = groups_of(node) if node.op_type == "Conv" else 1
        self.size = weights.size // weights.shape[weight_axis(node)]
        self._positions = ceil(max(_LEAST_ROWS, _ROWS_PER_WEIGHT * self.size) / pictures)
        self._generator = torch.Generator().manual_seed(seed)

    def no_moments(self) -> _Moments:
        """Return the moments of no position."""
        sums = torch.zeros(self.groups, self.size, dtype=torch.float64)
        return _Moments(sums=sums, products=sums.new_zeros(self.groups, self.size, self.size))

    def seen(self, inputs: NDArray[np.float32]) -> Tensor:
        """Return what outputs see on some pictures, at positions drawn at random, (groups, positions, in)."""
        images = torch.from_numpy(inputs)
        if self.node.op_type == "Conv":
            kernel_size = (self.weights.shape[2], self.weights.shape[3])
            height, width = size_of_output(self.node, images, kernel_size=kernel_size)
            seen = seen_by(self.node, images, kernel_size=kernel_size, positions=self._drawn(height * width))
        else:
            rows = images.reshape(1, len(images), -1, self.size)
            seen = rows[:, :, self._drawn(rows.shape[2])]
        return seen.reshape(self.groups, -1, self.size)

    def _drawn(self, count: int) -> Tensor:
        """Return some of the numbers from 0 to `count`."""
        return torch.randperm(count, generator=self._generator)[: self._positions]

    def rounded(self, scale: NDArray[np.float32], products: Tensor, *, avoid_saturation: bool) -> NDArray[np.float32]:
        """Return the rounded weights. There is a scale for every output channel."""
        axis = weight_axis(self.node)
        by_tap = np.moveaxis(np.moveaxis(self.weights, axis, 0), 1, -1)
        channels = by_tap.shape[-1]
        # Channels (0, 1), (2, 3), ... of a tap are added in 16 bits; if their number is odd, also those across taps.
        pairs = [bool(place % 2 or place % channels % 2) for place in range(self.size)]
        rounded = round_rows(
            torch.from_numpy(np.ascontiguousarray(by_tap, np.float64)).reshape(self.groups, -1, self.size),
            torch.from_numpy(np.array(scale, np.float64)).reshape(self.groups, -1, 1),
            products,
            second_of_pair=pairs if avoid_saturation and channels > 1 else (),
        )
        return np.moveaxis(np.moveaxis(rounded.numpy().reshape(by_tap.shape), -1, 1), 0, axis)


def _weights_of(node: ir.Node) -> NDArray[np.float32] | None:
    """Return the weights of a layer whose outputs multiply them with one row of inputs; None if it is another node."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.attributes.get_int("transA", 0):
        return None
    weights = sole_constant(node, 1)
    return weights if weights is not None and weights.ndim == (4 if node.op_type == "Conv" else 2) else None


def _parts(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """Divide layers into parts whose moments fit into `_MOST_NUMBERS`, or that are one layer."""
    part: list[_Layer] = []
    for layer in layers:
        if part and sum(one.groups * one.size**2 for one in (*part, layer)) > _MOST_NUMBERS:
            yield part
            part = []
        part.append(layer)
    if part:
        yield part


def _collect(
    layers: Sequence[_Layer], proto: onnx.ModelProto, groups: Sequence[Images], *, track: Track
) -> list[_Moments]:
    """Run a graph on calibration pictures; return the moments of what the outputs of its layers see."""
    moments = [layer.no_moments() for layer in layers]
    readers: dict[str, list[int]] = {}
    for place, layer in enumerate(layers):
        readers.setdefault(name_of(layer.node.inputs[0]), []).append(place)
    tensors = {name: shape for name, shape in float_tensors(proto).items() if name in readers}
    for name, array in run_activations(proto, groups, tensors=tensors, track=track):
        for place in readers[name]:
            moments[place].add(layers[place].seen(array))
    return moments
