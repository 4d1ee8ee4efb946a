"""The weights that a training starts from."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.models import build_on_meta, compare_keys, describe_faults, preprocessing_of
from parckit.networks import build_network, open_checkpoint

PRETRAINED = "pretrained"

_log = logging.getLogger(__name__)


def initial_network(spec: NetworkSpec, *, weights: str | None) -> nn.Module:
    """Build a spec's network with the weights that training starts from.

    If the weights are for other classes, the classifier gets random weights.

    Args:
        spec: the network to train.
        weights: `"pretrained"` for timm's weights of this backbone, which may be downloaded; or a `.ckpt` or
            `.safetensors` file of parckit, also from `parckit convert-weights`; None: random weights.

    Raises:
        InputError: if the weights do not exist or do not fit.
    """
    if weights is None:
        return build_network(spec)
    if weights == PRETRAINED:
        return _pretrained(spec)
    model = build_network(spec)
    _copy(model, spec, path=Path(weights))
    return model


def expected_preprocessing(model: str, kwargs: Mapping[str, object], *, weights: str) -> Preprocessing:
    """Return the preprocessing that weights expect. For grey images it has the averages over the channels.

    Args:
        model: name of the backbone that starts from the weights.
        kwargs: further keywords of the backbone.
        weights: as in `initial_network`.

    Raises:
        InputError: if there is no such backbone or file.
    """
    if weights == PRETRAINED:
        expected = preprocessing_of(build_on_meta(model))
    else:
        expected = open_checkpoint(Path(weights))[1].preprocessing
    return expected if kwargs.get("in_chans", 3) != 1 else expected.as_grey()


def _pretrained(spec: NetworkSpec) -> nn.Module:
    model = build_network(spec, pretrained=True)
    _compare_inputs(spec.preprocessing, preprocessing_of(model), weights=f"{spec.backbone}'s pretrained weights")
    # timm itself replaces the classifier only if the number of classes differs.
    if pretrained_labels(model) != spec.labels:
        model.reset_classifier(len(spec.labels))  # pyright: ignore[reportCallIssue] - a method of all of timm's models
    return model


def pretrained_labels(model: nn.Module) -> tuple[str, ...]:
    """Return the classes of the pretrained weights; an empty tuple if timm does not know them."""
    config = cast("dict[str, object]", model.pretrained_cfg)
    if names := cast("Sequence[str] | None", config.get("label_names")):
        return tuple(names)
    subset = infer_imagenet_subset(config)
    return () if subset is None else tuple(ImageNetInfo(subset).label_names())


def _copy(model: nn.Module, spec: NetworkSpec, *, path: Path) -> None:
    source, source_spec = open_checkpoint(path)
    fresh = () if source_spec.labels == spec.labels else classifier_prefixes(model)
    loaded = {key: value for key, value in source.state_dict().items() if not key.startswith(fresh)}
    expected = {key: value for key, value in model.state_dict().items() if not key.startswith(fresh)}
    loaded |= _grey_stem(expected, loaded)
    if faults := compare_keys(expected, loaded):
        made = f"made by {source_spec.backbone} {dict(source_spec.backbone_kwargs)}"
        raise InputError(f"model.weights={path}: {made}; do not fit ({describe_faults(faults, shown=1)})")
    model.load_state_dict(loaded, strict=False)
    expected = source_spec.preprocessing
    expected = expected.as_grey() if spec.preprocessing.channels == 1 else expected
    _compare_inputs(spec.preprocessing, expected, weights=str(path))


def _grey_stem(wanted: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the first convolution's weight for grey images, if that is what the two networks differ in.

    It is the sum over the colours. timm does the same with pretrained weights.
    """
    return {
        key: weight.sum(1, keepdim=True)
        for key, weight in loaded.items()
        if weight.ndim == 4
        and weight.shape[1] == 3
        and key in wanted
        and wanted[key].shape == (weight.shape[0], 1, *weight.shape[2:])
    }


def _compare_inputs(of_data: Preprocessing, of_weights: Preprocessing, *, weights: str) -> None:
    in_data, expected = ((side.mean, side.std, side.channel_order) for side in (of_data, of_weights))
    if in_data != expected:
        _log.warning(
            "%s expect mean, std and channel order %s, the data have %s; --match_weights true uses the weights' values",
            weights,
            expected,
            in_data,
        )


def classifier_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the parameters that depend on the number of classes."""
    config = cast("Mapping[str, object]", model.pretrained_cfg)
    names = config["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else cast("list[str]", names)))
