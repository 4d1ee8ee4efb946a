"""The matrix of a convolution along an axis, entry by entry."""

import pytest
import torch

from parckit.layers.toeplitz import banded_diagonals, circular_diagonals, sum_of_diagonals, toeplitz


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_diagonals_stand_where_they_belong(n):
    diagonals = torch.randn(3, 2 * n)
    matrix = toeplitz(diagonals)
    for i in range(n):
        for j in range(n):
            assert (matrix[:, i, j] == diagonals[:, n + j - i]).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_circular_taps_wrap(n):
    taps = torch.randn(2, n)
    matrix = toeplitz(circular_diagonals(taps))
    for i in range(n):
        for j in range(n):
            assert (matrix[:, i, j] == taps[:, (j - i) % n]).all()


@pytest.mark.parametrize("count", [1, 3, 9, 15])
def test_centred_taps_end(count):
    taps = torch.randn(2, count)
    matrix = toeplitz(banded_diagonals(taps, 5))
    for i in range(5):
        for j in range(5):
            k = j - i + count // 2
            assert (matrix[:, i, j] == (taps[:, k] if 0 <= k < count else 0)).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_summing_the_diagonals_is_the_adjoint(n):
    diagonals = torch.randn(3, 2 * n, dtype=torch.float64)
    matrix = torch.randn(3, n, n, dtype=torch.float64)
    # <T d, m> = <d, T' m>, up to the rounding of sums of 25 products.
    torch.testing.assert_close(
        (toeplitz(diagonals) * matrix).sum(), (diagonals * sum_of_diagonals(matrix)).sum(), rtol=0, atol=1e-13
    )
