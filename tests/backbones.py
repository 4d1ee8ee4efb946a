"""The models that this package registers with timm, found in timm's registry: a new one needs no line here."""

import math

import timm
import torch
from torch import Tensor, nn

import parckit.models  # noqa: F401  # registers them

NAMES = tuple(name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("parckit."))

SIZES = [(64, 48), (33, 65), (1, 40), (40, 1)]


def on_meta(name: str, **kwargs: object) -> nn.Module:
    """Build a model that has shapes and no numbers."""
    with torch.device("meta"):
        return timm.create_model(name, **kwargs)


def parameters_of(name: str) -> int:
    return sum(parameter.numel() for parameter in on_meta(name).parameters())


# Variants differ by numbers alone, so what must be computed is computed on those that are cheap.
CHEAP = tuple(name for name in NAMES if parameters_of(name) < 4e6)


def as_if_trained(model: nn.Module) -> nn.Module:
    """Draw new numbers for all parameters and buffers, so that the image decides what comes out; return the model.

    A fresh model would hide faults: its norms do nothing, and the image moves its outputs by a millionth.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        v = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            # Embeddings have no fan-in; 1.2 makes up for what activations take away.
            tensor.copy_(0.5 * v if tensor.shape[0] == 1 else 1.2 * v / tensor[0].numel() ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(0.5 + 0.5 * v.abs())
        elif tensor.is_floating_point():
            tensor.copy_(1 + 0.1 * v if name.endswith("weight") else 0.1 * v)
    return model


def make(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return as_if_trained(timm.create_model(name, **kwargs)).eval()


def images(*size: int, batch: int = 2, chans: int = 3) -> Tensor:
    return torch.randn(batch, chans, *size, generator=torch.Generator().manual_seed(1))


def reduced(size: tuple[int, int], reduction: int) -> tuple[int, ...]:
    return tuple(math.ceil(side / reduction) for side in size)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Allow for the same float32 operations in another order: some 1e-6 of the largest number, times ten."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
