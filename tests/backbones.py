"""The models that this package registers with timm, found in timm's registry: a new one needs no line here."""

import functools
import inspect
import json
import math

import timm
import torch
from torch import Tensor, nn

from drawn_weights import as_if_trained
from parckit.measure.catalogue import CATALOGUE
from parckit.models import copy_model  # registers them, too

NAMES = tuple(name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("parckit."))

# Variants of a family differ by these numbers alone. The tests run these variants with few channels and blocks.
SLIM: dict[str, dict[str, object]] = {
    "edgevit_xxs": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "head_dim": 8},
    "parc_convnext_xt": {"dims": (8, 16, 24, 32), "depths": (1, 1, 3, 1)},
    "parc_mobilenetv2": {"depth_multiplier": 0.6},
    "parc_resnet50": {"channels": (8, 16, 24, 32), "layers": (1, 1, 4, 2)},
}

# More blocks are more of the same, and torch's tools and exporters are slow.
SHALLOW: dict[str, dict[str, object]] = {
    "test_parcnet": {"depths": (1, 1, 1)},
    "test_parcnetv2": {"depths": (1, 1, 1, 1)},
    "test_edgevit": {"depths": (1, 1, 1, 1)},
}


def fresh(name: str, **kwargs: object) -> nn.Module:
    """Build a model with fresh weights, slim if it is one of `SLIM`."""
    return timm.create_model(name, **SLIM.get(name, {}) | kwargs)


def on_meta(name: str, **kwargs: object) -> nn.Module:
    """Build a model that has shapes and no numbers."""
    with torch.device("meta"):
        return fresh(name, **kwargs)


# A copy takes a tenth of the time that building a hybrid takes.
_kept_on_meta = functools.cache(on_meta)


def hollow(name: str, **kwargs: object) -> nn.Module:
    """Build a model that is all zeros: quicker to build than a fresh one, and to run than one on meta."""
    model = copy_model(_kept_on_meta(name, **kwargs)).to_empty(device="cpu").eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().zero_()
    return model


@functools.cache
def parameters_of(name: str) -> int:
    with torch.device("meta"):
        model = timm.create_model(name)
    return sum(parameter.numel() for parameter in model.parameters())


def _smallest_of_each_family() -> tuple[str, ...]:
    # To count takes seconds. tests/cli/test_list.py holds the catalogue to what is counted.
    listed = {row["model"]: row["params"] for row in json.loads(CATALOGUE.read_text(encoding="utf-8"))}
    smallest: dict[str, str] = {}
    for name in sorted(NAMES, key=lambda name: listed.get(name, math.inf)):
        smallest.setdefault(timm.model_entrypoint(name).__module__, name)
    return tuple(smallest.values())


SMALLEST = _smallest_of_each_family()
"""One variant of each family. Other variants differ by numbers alone."""

KINDS = (*SMALLEST, "edgevit_xxs")
"""One of every class, and the EdgeViT without ParC."""


@functools.cache
def is_ours(name: str) -> bool:
    """Tell whether the class is this package's; hybrids are timm's classes, with timm's limits."""
    return type(_kept_on_meta(name)).__module__.startswith("parckit.")


OURS = tuple(name for name in SMALLEST if is_ours(name))
"""The smallest variant of each family whose class is this package's."""


@functools.cache
def has_output_stride(name: str) -> bool:
    return "output_stride" in inspect.signature(type(_kept_on_meta(name)).__init__).parameters


def sizes_of(name: str) -> list[tuple[int, int]]:
    """Return odd, non-square and, where the class is ours, tiny sizes; timm's ConvNeXt needs its patches whole."""
    return [(64, 48), (33, 65), *([(1, 40), (40, 1)] if is_ours(name) else [])]


def make(name: str, **kwargs: object) -> nn.Module:
    # The state dict is the whole model, which a contract test checks, so nothing fresh is needed.
    return as_if_trained(hollow(name, **kwargs))


def images(*size: int, batch: int = 2, chans: int = 3) -> Tensor:
    return torch.randn(batch, chans, *size, generator=torch.Generator().manual_seed(1))


def assert_reduced(actual: tuple[int, ...] | torch.Size, size: tuple[int, int], reduction: int) -> None:
    """Compare (height, width) with the image's; what is left of a stride rounds up, in timm's ConvNeXt down."""
    assert len(actual) == 2
    for side, whole in zip(actual, size, strict=True):
        assert side in {whole // reduction, math.ceil(whole / reduction)}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Allow for the same float32 operations in another order: some 1e-6 of the largest number, times ten."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
