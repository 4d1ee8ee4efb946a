"""Load official checkpoints of every family into our models."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from timm.models._features import FeatureDictNet, FeatureGetterNet, FeatureHookNet
from torch import Tensor, nn

from parckit.contract import InputError
from parckit.models import edgevit, mobilevit_official, parc_convnext, parc_mobilenetv2, parc_resnet, parcnet, parcnetv2
from parckit.models.state_dicts import compare_keys, describe_faults


@dataclass(frozen=True, kw_only=True, slots=True)
class _Official:
    """The official checkpoints of a family.

    Attributes:
        models: names of the models that the checkpoints fit.
        names: (pattern, replacement) pairs that turn an official key into ours, applied in this order.
        aliases: prefixes of keys whose tensors are second copies; these keys are skipped.
        expected_input: entries of `pretrained_cfg` that describe the input which the weights expect; empty if our
            model's configuration already describes it.
    """

    models: tuple[str, ...]
    names: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
    aliases: tuple[str, ...] = ()
    expected_input: Mapping[str, object] = field(default_factory=dict[str, object])


_FAMILIES = (
    _Official(
        models=("parcnet_xs", "parcnet_s", "parcnet_h"),
        names=parcnet.OFFICIAL_NAMES,
        aliases=parcnet.OFFICIAL_ALIASES,
        expected_input=parcnet.OFFICIAL_INPUT,
    ),
    _Official(
        models=("parcnetv2_xt", "parcnetv2_tiny", "parcnetv2_small", "parcnetv2_base"), names=parcnetv2.OFFICIAL_NAMES
    ),
    _Official(
        models=("mobilevit_xs", "mobilevit_s"),
        names=mobilevit_official.OFFICIAL_NAMES,
        expected_input=mobilevit_official.OFFICIAL_INPUT,
    ),
    _Official(models=("edgevit_xxs", "edgevit_xs", "edgevit_s"), names=edgevit.OFFICIAL_NAMES),
    _Official(models=("convnext_xt", "parc_convnext_xt"), names=parc_convnext.OFFICIAL_NAMES),
    _Official(models=("parc_resnet50",), names=parc_resnet.OFFICIAL_NAMES),
    _Official(models=("parc_mobilenetv2",), names=parc_mobilenetv2.OFFICIAL_NAMES),
)

_OF_MODEL = {name: family for family in _FAMILIES for name in family.models}

_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "ema_state_dict", "model_ema", "ema")


def load_any_state_dict(model: nn.Module, state_dict: Mapping[str, object], *, entry: str | None = None) -> str:
    """Load weights under timm's own keys, as timm's scripts write them, or those of an official implementation.

    Args:
        model: a whole model from `timm.create_model`.
        state_dict: the content of the file. Prefixes of wrappers (`module.`, `_orig_mod.`) are removed.
        entry: name of the entry that holds the weights, such as `state_dict_ema`. None: as in
            `load_official_state_dict`.

    Returns:
        The name of the entry that was loaded; empty if the file holds only weights.

    Raises:
        InputError: if there is no such entry, or the keys do not fit.
    """
    name, weights = weights_in(state_dict, entry=entry)
    expected = model.state_dict()
    faults = compare_keys(expected, weights)
    config = cast("dict[str, object]", getattr(model, "pretrained_cfg", {}))
    architecture = str(config.get("architecture", type(model).__name__))
    if not faults:
        model.load_state_dict(weights)
    elif architecture in _OF_MODEL:
        load_official_state_dict(model, weights)
    else:
        raise InputError(f"weights do not fit {architecture} ({describe_faults(faults, shown=2)})")
    return name


def weights_in(state_dict: Mapping[str, object], *, entry: str | None = None) -> tuple[str, dict[str, Tensor]]:
    """Return the name of the entry of a file that holds its weights, empty if there is none, and the weights.

    Args:
        state_dict: the content of the file.
        entry: see `load_any_state_dict`.

    Raises:
        InputError: if there is no such entry, or it holds something other than named tensors.
    """
    if entry is not None and not isinstance(state_dict.get(entry), Mapping):
        held = ", ".join(str(key) for key, value in state_dict.items() if isinstance(value, Mapping))
        raise InputError(f"entry={entry}: the file has no such group of weights; it has {held or 'none'}")
    name = entry or next((key for key in _WRAPPERS if isinstance(state_dict.get(key), Mapping)), "")
    return name, unwrap_state_dict(cast("Mapping[str, object]", state_dict[name]) if name else state_dict)


def rename_official_key(key: str, *, model: str) -> str | None:
    """Return our name for a key in a model's official state dict, or None for an alias.

    Raises:
        InputError: if there are no official weights of the model.
    """
    if model not in _OF_MODEL:
        raise InputError(f"backbone={model!r}: official weights exist for {', '.join(_OF_MODEL)}")
    family = _OF_MODEL[model]
    if key.startswith(family.aliases):
        return None
    for pattern, replacement in family.names:
        key = re.sub(pattern, replacement, key)
    return key


def load_official_state_dict(model: nn.Module, state_dict: Mapping[str, object]) -> None:
    """Load weights of the official implementation, and write the input that they expect into `model.pretrained_cfg`.

    If the model has no classifier (`num_classes=0`), the classifier in the checkpoint is skipped.

    Args:
        model: a whole model from `timm.create_model`: one of ours, or one of timm's with official weights.
        state_dict: the official state dict, with or without the prefix `module.`. It may be an entry of another dict,
            under `model`, `state_dict` or an EMA key. If there are several such entries, the first name in `_WRAPPERS`
            counts, so raw weights come before EMA weights.

    Raises:
        InputError: if the model was made with `features_only`, has no official weights, or the keys do not fit. The
            error then names every missing, unexpected and mis-shaped key. The model is unchanged.
    """
    if isinstance(model, FeatureDictNet | FeatureGetterNet | FeatureHookNet):
        raise InputError("model made with features_only=True: load into the whole model, and take features from it")
    config = cast("dict[str, object]", getattr(model, "pretrained_cfg", {}))
    architecture = str(config.get("architecture", type(model).__name__))
    if architecture not in _OF_MODEL:
        raise InputError(f"model={architecture!r}: official weights exist for {', '.join(_OF_MODEL)}")
    # Rename the official keys; remember where each of ours comes from, for the error message.
    expected = model.state_dict()
    ours: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in unwrap_state_dict(state_dict).items():
        name = rename_official_key(key, model=architecture)
        if name is not None and not (model.num_classes == 0 and name.startswith(f"{config['classifier']}.")):
            # Our 1x1 convolution may replace a linear layer over channels, whose weight has two dimensions less.
            pointwise = name in expected and expected[name].shape == (*tensor.shape, 1, 1)
            ours[name] = tensor[..., None, None] if pointwise else tensor
            origin[name] = key
    check_official_keys(expected, ours, origin)
    model.load_state_dict(ours)
    expect_official_input(model)


def expect_official_input(model: nn.Module) -> None:
    """Write the input that official weights expect into `model.pretrained_cfg`."""
    config = cast("dict[str, object]", model.pretrained_cfg)
    config.update(_OF_MODEL[str(config["architecture"])].expected_input)


def unwrap_state_dict(state_dict: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's content, without wrappers' prefixes.

    Raises:
        InputError: if it is empty, or holds something other than named tensors.
    """
    wrapper = next((key for key in _WRAPPERS if isinstance(state_dict.get(key), Mapping)), None)
    if wrapper is not None:
        return unwrap_state_dict(cast("Mapping[str, object]", state_dict[wrapper]))
    if not state_dict:
        raise InputError("state dict: is empty")
    # The dict comes from a file, so its keys and values may be anything.
    stray = [key for key, value in state_dict.items() if not (isinstance(key, str) and isinstance(value, Tensor))]  # pyright: ignore[reportUnnecessaryIsInstance]
    if stray:
        raise InputError(f"state dict: has entries other than named tensors: {', '.join(sorted(map(str, stray))[:5])}")
    weights = cast("Mapping[str, Tensor]", state_dict)
    # DistributedDataParallel adds "module.", torch.compile adds "_orig_mod.".
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", key): value for key, value in weights.items()}


def check_official_keys(expected: Mapping[str, Tensor], ours: Mapping[str, Tensor], origin: Mapping[str, str]) -> None:
    """Compare renamed weights with a network's own.

    Args:
        expected: the network's state dict.
        ours: the official weights under our names.
        origin: our name -> official name.

    Raises:
        InputError: naming every weight that is missing, unexpected or has another shape.
    """
    faults = compare_keys(expected, ours)
    messages = [f"missing {key}" for key in faults.get("missing", ())]
    messages += [f"unexpected {origin[key]}" for key in faults.get("unexpected", ())]
    messages += [
        f"mis-shaped {origin[key]} {tuple(ours[key].shape)}, needs {tuple(expected[key].shape)}"
        for key in faults.get("mis-shaped", ())
    ]
    if messages:
        raise InputError(f"official state dict does not fit ({len(messages)} keys): " + "; ".join(messages))
