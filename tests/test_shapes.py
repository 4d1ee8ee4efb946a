"""Shapes are checked while testing: a hint that is wrong, or a hook that stopped working, shows here."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from shapes import typechecker


@jaxtyped(typechecker=typechecker)
def scaled(
    x: Float[Tensor, "b c"], gain: Float[Tensor, " c"] | None = None, *, factor: float = 1.0
) -> Float[Tensor, "b c"]:
    return x * factor if gain is None else x * gain * factor


def test_matching_shapes_pass():
    assert scaled(torch.ones(2, 3), torch.ones(3)).shape == (2, 3)


def test_other_shapes_are_refused():
    with pytest.raises(TypeCheckError, match="gain"):
        scaled(torch.ones(2, 3), torch.ones(1))


def test_annotations_without_shape_are_left_alone():
    assert scaled(torch.ones(2, 3), factor=2).sum() == 12


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated:FutureWarning")
def test_tracing_goes_through_unchecked():
    # A checked call would warn that a traced shape became a constant, and warnings are errors.
    traced = torch.jit.trace(scaled, (torch.ones(2, 3),), check_trace=False)
    assert traced(torch.ones(5, 3)).shape == (5, 3)


def test_the_hook_covers_the_layers():
    from parckit.layers import circular_conv

    with pytest.raises(TypeCheckError):
        circular_conv(torch.ones(2, 3, 4, 4), torch.ones(2, 4), axis="height")
