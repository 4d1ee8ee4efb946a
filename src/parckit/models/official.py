"""Loading the official checkpoints of every family into our models."""

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

from parckit.contract import InputError
from parckit.models import parcnet

_FAMILIES: dict[type[nn.Module], tuple[Callable[[str], str | None], Mapping[str, object]]] = {
    parcnet.ParCNet: (parcnet.rename_official_key, parcnet.OFFICIAL_INPUT),
}
"""Model class -> (official key to ours, what the official weights expect as input)."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "ema_state_dict", "model_ema", "ema")


def load_official_state_dict(model: nn.Module, state_dict: Mapping[str, object]) -> None:
    """Load weights published for the official implementation, and note in `model.pretrained_cfg` what they expect.

    Args:
        model: a model of one of our families.
        state_dict: the official keys, bare or wrapped under `model`, `state_dict` or an EMA key, with or without the
            prefix `module.`. Of several such entries the first of `_WRAPPERS` counts: raw weights before EMA.

    Raises:
        InputError: if the family has no official weights, or naming every missing, unexpected and mis-shaped key; the
            model is then unchanged.
    """
    if type(model) not in _FAMILIES:
        known = ", ".join(family.__name__ for family in _FAMILIES)
        raise InputError(f"model of class {type(model).__name__}: official weights exist for {known}")
    rename, expected_input = _FAMILIES[type(model)]
    official = _unwrap(state_dict)
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in official.items():
        name = rename(key)
        if name is not None:
            ours[name] = tensor
            origin[name] = key
    _check(model.state_dict(), ours, origin)
    model.load_state_dict(ours)
    config = cast("dict[str, object]", model.pretrained_cfg)
    config.update(expected_input)


def _unwrap(state_dict: Mapping[str, object]) -> dict[str, Tensor]:
    wrapper = next((key for key in _WRAPPERS if isinstance(state_dict.get(key), Mapping)), None)
    if wrapper is not None:
        return _unwrap(cast("Mapping[str, object]", state_dict[wrapper]))
    tensors = {key.removeprefix("module."): value for key, value in state_dict.items() if isinstance(value, Tensor)}
    if len(tensors) < len(state_dict) or not tensors:
        stray = sorted(key for key, value in state_dict.items() if not isinstance(value, Tensor))
        raise InputError(f"state dict is empty or holds what is no tensor: {', '.join(stray[:5]) or 'empty'}")
    return tensors


def _check(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], origin: Mapping[str, str]) -> None:
    faults = [f"missing {key}" for key in expected if key not in given]
    faults += [f"unexpected {origin[key]}" for key in given if key not in expected]
    faults += [
        f"mis-shaped {origin[key]} {tuple(tensor.shape)}, needs {tuple(expected[key].shape)}"
        for key, tensor in given.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    if faults:
        raise InputError(f"official state dict does not fit ({len(faults)} keys): " + "; ".join(faults))
