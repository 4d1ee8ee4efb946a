"""The layers of a graph in torch: what a convolution returns, and what each of its outputs sees."""

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from parckit.deploy.quantize.constants import ints_of


def convolve(images: Tensor, kernel: Tensor, node: ir.Node) -> Tensor:
    """Return a convolution with a node's stride, paddings, dilation and groups, without its bias.

    Shape:
        images: (B, in, h, w); kernel: (out, in / groups, kh, kw); returns (B, out, h', w')
    """
    return functional.conv2d(
        padded(images, node),
        kernel,
        stride=ints_of(node, "strides", (1, 1)),
        dilation=ints_of(node, "dilations", (1, 1)),
        groups=groups_of(node),
    )


def seen_by(node: ir.Node, inputs: Tensor, *, kernel_size: tuple[int, int], positions: Tensor) -> Tensor:
    """Return the numbers that a convolution multiplies with its weights for some of its outputs.

    Args:
        node: the convolution.
        inputs: its inputs.
        kernel_size: height and width of its kernel.
        positions: which outputs, counted row by row.

    Shape:
        inputs: (B, in, h, w); positions: (P,); returns (groups, B, P, kh * kw * in / groups), with the channels of one
        tap of the kernel side by side
    """
    images, groups = padded(inputs, node), groups_of(node)
    (down, right), (below, beside) = ints_of(node, "strides", (1, 1)), ints_of(node, "dilations", (1, 1))
    _, width = size_of_output(node, inputs, kernel_size=kernel_size)
    tops, lefts = positions // width * down, positions % width * right
    taps = [
        images[:, :, tops + row * below, lefts + column * beside]
        for row in range(kernel_size[0])
        for column in range(kernel_size[1])
    ]
    # (B, in, P) for every tap -> (groups, B, P, taps, in / groups)
    by_group = torch.stack(taps, dim=3).unflatten(1, (groups, -1)).permute(1, 0, 3, 4, 2)
    return by_group.flatten(3)


def size_of_output(node: ir.Node, inputs: Tensor, *, kernel_size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a convolution's outputs, pixels."""
    sides = padded(inputs[:1, :1], node).shape[2:]
    strides, dilations = ints_of(node, "strides", (1, 1)), ints_of(node, "dilations", (1, 1))
    height, width = (
        (side - dilation * (kernel - 1) - 1) // stride + 1
        for side, kernel, stride, dilation in zip(sides, kernel_size, strides, dilations, strict=True)
    )
    return height, width


def padded(images: Tensor, node: ir.Node) -> Tensor:
    """Return images with the zeros that a convolution adds at their borders."""
    top, left, bottom, right = ints_of(node, "pads", (0, 0, 0, 0))
    return functional.pad(images, (left, right, top, bottom))


def groups_of(node: ir.Node) -> int:
    """Return the number of groups of a convolution."""
    return node.attributes.get_int("group", 1)
