"""Copying weights out of a checkpoint into a network with other classes, or of another kind."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec
from parckit.models import compare_keys, describe_faults
from parckit.networks.build import head_of
from parckit.networks.checkpoints import open_checkpoint
from parckit.networks.features import MAP_NORMS
from parckit.networks.segmenter import AUXILIARY

_OPTIONAL = (AUXILIARY, MAP_NORMS)
"""Prefixes of weights that a network works without."""


def copy_weights(network: nn.Module, spec: NetworkSpec, *, path: Path) -> NetworkSpec:
    """Copy the weights of a checkpoint, and return its spec.

    If the checkpoint is for other classes, the weights that depend on the classes stay as they are. If it is of another
    kind of network, such as a classifier for a detector, only the backbone's weights are copied. An auxiliary head and
    norms on the backbone's maps may be in only one of the two networks; fresh ones stay as they are.

    Args:
        network: gets the weights.
        spec: its spec.
        path: a checkpoint of parckit's, or the name of weights that come with the package.

    Raises:
        InputError: if the file cannot be opened, or its weights do not fit.
    """
    source, source_spec = open_checkpoint(path)
    if source_spec.quantization is not None:
        raise InputError(f"model.weights={path}: has fake quantizers; start from the float checkpoint it was made of")
    head, source_head = head_of(spec), head_of(source_spec)
    weights, present = source.state_dict(), network.state_dict()
    is_same_kind = head is source_head
    fresh = () if is_same_kind and source_spec.labels == spec.labels else head.label_weights(network)
    expected = {key: value for key, value in present.items() if not key.startswith(fresh)}
    if is_same_kind:
        loaded = {key: value for key, value in weights.items() if not key.startswith(fresh)}
    else:
        expected = {key: value for key, value in expected.items() if key.startswith(head.backbone)}
        names = {key: source_head.backbone + key.removeprefix(head.backbone) for key in expected}
        # The other network may have more weights, such as those of its classifier.
        loaded = {key: weights[name] for key, name in names.items() if name in weights}
    expected, loaded = (
        {key: value for key, value in one.items() if key in other or not key.startswith(_OPTIONAL)}
        for one, other in ((expected, loaded), (loaded, expected))
    )
    loaded |= _grey_stem(expected, loaded)
    if faults := compare_keys(expected, loaded):
        made = f"made by {source_spec.backbone} {dict(source_spec.backbone_kwargs)}"
        raise InputError(f"model.weights={path}: {made}; do not fit ({describe_faults(faults, shown=1)})")
    network.load_state_dict(loaded, strict=False)
    return source_spec


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
