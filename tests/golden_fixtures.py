"""Reference numbers of the official implementations. Weights and inputs are remade by a rule, so none are stored.

`tests/golden/` holds what a clone needs to prove equality: key lists and logits of the official ParC-Nets, and single
modules. Arrays of every stage lie beside the repository; tests that need them carry `needs_shared`.
"""

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from parckit.measure.cost import count
from parckit.models import load_official_state_dict
from repository import ROOT

GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared" / "golden"
OFFICIAL = ("parcnet_xs", "parcnet_s", "parcnet_h")

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden files (../shared) are not here")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """The outputs of one official model or module, and `meta`, which says how they were made."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    def assert_equal(self, name: str, found: Tensor) -> None:
        """Compare what is stored of the array `name` with the same part of `found`, the whole tensor."""
        facts = self.meta["arrays"][name]
        image = facts.get("image")
        found = found if image is None else found[image : image + 1]
        assert list(found.shape) == facts["shape"]
        part = found[tuple(slice(None, None, step) for step in facts.get("stride") or ())]
        # 30 times the float32 noise of the official run (its distance from float64) holds on every CPU; 1e-4 of the
        # spread is still under the effect of every mistake that the makers of the fixtures tried, 2.4e-3 and more.
        tolerance = max(30 * facts["f64_maxabs"], 1e-4 * facts["std"])
        assert np.abs(part.detach().numpy() - self.arrays[name]).max() <= tolerance


def read_case(path: Path) -> Case:
    with np.load(path) as stored:
        arrays = dict(stored)
    return Case(meta=json.loads(str(arrays.pop("meta"))), arrays=arrays)


def read_train_facts() -> Mapping[str, Any]:
    """Return what the official training code does: rates, samplers, losses, averages."""
    return json.loads((SHARED / "train_facts.json").read_text(encoding="utf-8"))


def normal(tag: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float64 standard normal numbers that the tag alone decides."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode()))).standard_normal(size=shape)


def official_input(tag: str, shape: list[int]) -> Tensor:
    return torch.from_numpy(normal(tag, tuple(shape)).astype(np.float32))


def fill(key: str, shape: list[int], *, gain: float) -> Tensor:
    """Make the weight or buffer that the official model holds under `key`."""
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    fan_in = np.prod(shape[1:])
    v = normal(key, tuple(shape))
    if last == "running_var":
        w = 0.5 + 0.5 * np.abs(v)
    elif last == "running_mean":
        w = 0.1 * v
    elif last == "pe" or last.startswith("meta_pe_"):
        w = 0.5 * v
    elif last.startswith("meta_kernel_"):
        w = 0.3 * v / np.sqrt(fan_in)
    elif len(shape) >= 2:
        w = gain * v / np.sqrt(fan_in)
    elif last in {"weight", "scale", "gamma"}:
        w = 1 + 0.1 * v
    else:
        w = 0.05 * v
    return torch.from_numpy(w.astype(np.float32))


@functools.cache
def read_keys(name: str) -> Mapping[str, Any]:
    """Read an official model's keys and shapes, aliases, parameters, multiply-adds and fingerprint."""
    path = GOLDEN / f"{name}.json"
    path = path if path.is_file() else SHARED / "models" / f"{name}.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(facts["state_dict"], list):  # the makers' own files say more than the copies
        facts["state_dict"] = {key: shape for key, shape, _ in facts["state_dict"]}
        facts["madds"] = {size: count["conv_linear_matmul"] for size, count in facts["madds"].items()}
    return facts


@functools.cache
def official_state_dict(name: str) -> Mapping[str, Tensor]:
    """Make an official model's state dict, aliases included."""
    facts = read_keys(name)
    unique = {
        key: fill(key, shape, gain=facts["gain"])
        for key, shape in facts["state_dict"].items()
        if key not in facts["aliases"]
    }
    return {key: unique[facts["aliases"].get(key, key)] for key in facts["state_dict"]}


def official_model(name: str, *, ours: str | None = None, **kwargs: object) -> nn.Module:
    """Build our model with the official weights that `name` has; `ours` is our name where it is another."""
    model = timm.create_model(ours or name, **kwargs).eval()
    load_official_state_dict(model, official_state_dict(name))
    return model


def assert_official_cost(model: nn.Module, name: str) -> None:
    """Compare parameters, and multiply-adds at every size that the official model was counted at: to the last digit."""
    facts = read_keys(name)
    assert facts["madds"]
    for size, madds in facts["madds"].items():
        height, width = map(int, size.split("x"))
        cost = count(model, size=(height, width))
        assert (cost.params, cost.madds) == (facts["params"], madds)
