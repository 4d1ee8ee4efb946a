"""Reference numbers of the official models. A rule remakes their weights and inputs, so neither is stored.

`tests/golden/` holds outputs of every family's official models, or regular samples of them, and the models' key lists.
Where `../shared/golden` is there, the same tests also compare the larger samples in it. `needs_shared` marks tests of
what only that folder has.
"""

import functools
import json
import zlib
from collections.abc import Callable, Mapping
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

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/golden, which a clone does not have")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What one official model or module gave for one input.

    Attributes:
        arrays: the outputs by their official names, or regular samples of them.
        meta: the model, the input, and how each array was sampled.
    """

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    def make_input(self) -> Tensor:
        return official_input(self.meta["input_tag"], self.meta["input_shape"])

    def assert_equal(self, name: str, output: Tensor) -> None:
        """Compare the array `name` with the same sample of `output`, which is our whole tensor."""
        facts = self.meta["arrays"][name]
        if "image" in facts:
            output = output[facts["image"] : facts["image"] + 1]
        if facts.get("layout") == "BNC":
            output = output.flatten(1, 2)
        assert list(output.shape) == facts["shape"]
        sample = output[tuple(slice(None, None, step) for step in facts.get("stride") or ())]
        # `f64_maxabs` is the official float32 run's distance from its float64 run. 30 times that holds on every CPU.
        # 1e-4 of the spread is far below the effect of the mistakes that the makers of the fixtures tried: 2.4e-3.
        tolerance = max(30 * facts.get("f64_maxabs", 0), 1e-4 * facts["std"])
        assert np.abs(sample.detach().numpy() - self.arrays[name]).max() <= tolerance


def read_case(path: Path) -> Case:
    with np.load(path) as stored:
        arrays = dict(stored)
    return Case(meta=json.loads(str(arrays.pop("meta"))), arrays=arrays)


def stored_cases(name: str) -> list[Case]:
    """Return the copy of a case in this repository and, where it is there, the larger original."""
    return [read_case(folder / f"{name}.npz") for folder in (GOLDEN, SHARED) if folder.is_dir()]


def assert_official_outputs(model: nn.Module, case_name: str, *, our_module: Callable[[str], str]) -> None:
    """Run the model once and compare all outputs that the case stores.

    Args:
        model: our model with the official weights.
        case_name: a file in `tests/golden`, without its ending.
        our_module: gives the name of our module for an official name; the logits come from the whole model, "".
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: outputs.update({name: output})

    cases = stored_cases(case_name)
    hooks = [model.get_submodule(our_module(name)).register_forward_hook(keep(name)) for name in cases[0].arrays]
    with torch.no_grad():
        model(cases[0].make_input())
    for hook in hooks:
        hook.remove()
    for case in cases:
        assert case.arrays.keys() == outputs.keys()
        for name, output in outputs.items():
            case.assert_equal(name, output)


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
    with np.load(GOLDEN / "models.npz") as models:
        return json.loads(models[name].tobytes())


# The tests of a model follow each other, and the weights of all models would fill a gigabyte.
@functools.lru_cache(maxsize=2)
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
    # Loading writes every parameter and buffer, so fresh weights would be drawn for nothing.
    with torch.device("meta"):
        model = timm.create_model(ours or name, **kwargs)
    model = model.to_empty(device="cpu").eval()
    load_official_state_dict(model, official_state_dict(name))
    return model


def assert_official_cost(model: nn.Module, name: str) -> None:
    """Compare parameters and multiply-adds, to the last digit, at the last size that the official model was counted at.

    That is not its native size where it was counted at several.
    """
    facts = read_keys(name)
    size, madds = [*facts["madds"].items()][-1]
    height, width = map(int, size.split("x"))
    cost = count(model, size=(height, width))
    assert (cost.params, cost.madds) == (facts["params"], madds)
