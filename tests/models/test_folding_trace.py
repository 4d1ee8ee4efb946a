"""What the record of a forward pass tells about tensors."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from parckit.models.folding_trace import watch


@dataclass(slots=True)
class Output:
    feature: Tensor
    rest: object = None


CONTAINERS = {
    "itself": lambda y: y,
    "a list": lambda y: [y],
    "a dictionary": lambda y: {"out": (y,)},
    "a data class": Output,
    "an object in a list": lambda y: [SimpleNamespace(maps={"last": Output(None, [y])})],
}


class Returning(nn.Module):
    """Return the output of a convolution in a container; a second operator may read it first."""

    def __init__(self, container, *, is_read: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.container = container
        self.is_read = is_read

    def forward(self, x):
        y = self.conv(x)
        if self.is_read:
            y.relu()
        return self.container(y)


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_what_the_network_returns_is_not_read_only_once(container, is_read):
    model = Returning(container, is_read=is_read).eval()
    trace = watch(model, torch.zeros(1, 3, 2, 2))
    assert not trace.is_read_once(trace.only_call(model.conv).out)


def test_what_one_operator_reads_is_read_once():
    model = Returning(lambda y: [y.relu(), "text", None, 3], is_read=False).eval()
    trace = watch(model, torch.zeros(1, 3, 2, 2))
    assert trace.is_read_once(trace.only_call(model.conv).out)


def test_an_output_that_contains_itself_ends():
    output = SimpleNamespace()
    output.self = output
    model = Returning(lambda y: output, is_read=True).eval()
    trace = watch(model, torch.zeros(1, 3, 2, 2))
    assert trace.is_read_once(trace.only_call(model.conv).out)
