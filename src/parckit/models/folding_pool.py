"""Fold adaptive pooling: at one size, the windows are constant.

Window i of n over a length L goes from floor(i L / n) to ceil((i + 1) L / n). If n divides L, all windows have one
length and the pooling is a usual one. Otherwise the mean over windows of rows and columns is a product with two
constant matrices, R x C. Engines know both, and only few know adaptive pooling. For one window, which is the mean over
the whole map, torch's exporter writes shape arithmetic beside the mean, and a plain mean has none.
"""

from typing import cast

import torch
from timm.layers import to_2tuple
from torch import Tensor, nn

from parckit.models.folding import folds
from parckit.models.folding_trace import Trace


class MeanPool(nn.Module):
    """Mean over the whole map.

    Shape:
        (B, C, H, W) -> (B, C, 1, 1)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.mean((2, 3), keepdim=True)


class MatrixPool(nn.Module):
    """Mean over windows, as products with constant matrices.

    Args:
        size: (height, width) of the map.
        output_size: numbers of windows along both axes.

    Shape:
        (B, C, *size) -> (B, C, *output_size)
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], output_size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", _windows(size[0], output_size[0]))
        self.register_buffer("columns", _windows(size[1], output_size[1]).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return self.rows @ (x @ self.columns)


@folds(nn.AdaptiveAvgPool2d)
def fold_adaptive_pool(module: nn.AdaptiveAvgPool2d, trace: Trace) -> nn.Module:
    """Replace adaptive pooling by pooling with constant windows."""
    height, width = cast("tuple[int | None, int | None]", to_2tuple(module.output_size))
    if height is None or width is None:
        return module
    if (height, width) == (1, 1):
        return MeanPool()
    size = trace.size_of(module)
    if size[0] % height == 0 and size[1] % width == 0:
        return nn.AvgPool2d((size[0] // height, size[1] // width))
    call = trace.calls[module][0]
    return MatrixPool(size, (height, width)).to(call.x)


def _windows(length: int, count: int) -> Tensor:
    """Return the matrix whose row i is the mean over window i."""
    matrix = torch.zeros(count, length, dtype=torch.float64)
    for i in range(count):
        start, end = i * length // count, -(-(i + 1) * length // count)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
