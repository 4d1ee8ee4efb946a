"""How `fuse` folds adaptive pooling."""

import pytest
import torch
from torch import nn

from parckit.models import fuse


@pytest.mark.parametrize("output_size", [1, 2, 3, (1, 3), (6, 5), (None, 2)], ids=str)
@pytest.mark.parametrize("size", [(12, 18), (7, 10), (2, 3)], ids=str)
@torch.no_grad()
def test_windows_of_any_length_give_the_same_means(size, output_size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(output_size)).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    fused, expected = fuse(model, size=size), model(x)
    # Sums of up to 216 float64 numbers in another order.
    torch.testing.assert_close(fused(x), expected, rtol=0, atol=1e-13)
    left = [module for module in fused.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    assert len(left) == (output_size == (None, 2))
