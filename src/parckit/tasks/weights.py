"""The weights that a training starts from."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn

from parckit.contract import NetworkSpec, Preprocessing
from parckit.models import build_on_meta, preprocessing_of
from parckit.networks import backbone_of, build_network, copy_weights, open_checkpoint
from parckit.tasks.qat import with_quantizers

PRETRAINED = "pretrained"

_log = logging.getLogger(__name__)


def initial_network(spec: NetworkSpec, *, weights: str | None) -> nn.Module:
    """Build a spec's network with the weights that training starts from.

    If the weights are for other classes, what depends on the classes gets random weights. If they are for another kind
    of network, such as a classifier's for a detector, only the backbone takes them. A network with fake quantizers
    starts from the weights of a float one.

    Args:
        spec: the network to train.
        weights: `"pretrained"` for timm's weights of this backbone, which may be downloaded; or a `.ckpt` or
            `.safetensors` file of parckit, also from `parckit convert-weights`; None: random weights.

    Raises:
        InputError: if the weights do not exist or do not fit.
    """
    if weights is None:
        return build_network(spec)
    if spec.quantization is not None:
        return with_quantizers(initial_network(replace(spec, quantization=None), weights=weights), spec)
    if weights == PRETRAINED:
        return _pretrained(spec)
    network = build_network(spec)
    expected = copy_weights(network, spec, path=Path(weights)).preprocessing
    expected = expected.as_grey() if spec.preprocessing.channels == 1 else expected
    _compare_inputs(spec.preprocessing, expected, weights=weights)
    return network


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
    network = build_network(spec, pretrained=True)
    backbone = backbone_of(network, spec)
    _compare_inputs(spec.preprocessing, preprocessing_of(backbone), weights=f"{spec.backbone}'s pretrained weights")
    # timm itself replaces the classifier only if the number of classes differs.
    if backbone is network and pretrained_labels(network) != spec.labels:
        network.reset_classifier(len(spec.labels))  # pyright: ignore[reportCallIssue] - a method of all of timm's models
    return network


def pretrained_labels(model: nn.Module) -> tuple[str, ...]:
    """Return the classes of the pretrained weights; an empty tuple if timm does not know them."""
    config = cast("dict[str, object]", model.pretrained_cfg)
    if names := cast("Sequence[str] | None", config.get("label_names")):
        return tuple(names)
    subset = infer_imagenet_subset(config)
    return () if subset is None else tuple(ImageNetInfo(subset).label_names())


def _compare_inputs(of_data: Preprocessing, of_weights: Preprocessing, *, weights: str) -> None:
    in_data, expected = ((side.mean, side.std, side.channel_order) for side in (of_data, of_weights))
    if in_data != expected:
        _log.warning(
            "%s expect mean, std and channel order %s, the data have %s; --match_weights true uses the weights' values",
            weights,
            expected,
            in_data,
        )
