"""The layers of a graph in torch: what a convolution returns, and what each of its outputs sees."""

import onnx_ir as ir
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


def seen_by(node: ir.Node, inputs: Tensor, *, kernel_size: tuple[int, int]) -> Tensor:
    """Return the numbers that a convolution multiplies with its weights for each of its outputs.

    Shape:
        inputs: (B, in, h, w); returns (groups, B, positions, kh * kw * in / groups), with the channels of one tap of
        the kernel side by side
    """
    taps = functional.unfold(
        padded(inputs, node),
        kernel_size,
        dilation=ints_of(node, "dilations", (1, 1)),
        stride=ints_of(node, "strides", (1, 1)),
    )
    batch, _, positions = taps.shape
    groups = groups_of(node)
    by_tap = taps.reshape(batch, groups, inputs.shape[1] // groups, -1, positions)
    return by_tap.permute(1, 0, 4, 3, 2).reshape(groups, batch, positions, -1)


def padded(images: Tensor, node: ir.Node) -> Tensor:
    """Return images with the zeros that a convolution adds at their borders."""
    top, left, bottom, right = ints_of(node, "pads", (0, 0, 0, 0))
    return functional.pad(images, (left, right, top, bottom))


def groups_of(node: ir.Node) -> int:
    """Return the number of groups of a convolution."""
    return node.attributes.get_int("group", 1)
