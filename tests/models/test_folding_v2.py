"""What `fuse` makes of ParCNetV2, beyond what the contract asks of every model."""

import pytest
import torch
from torch import nn

from backbones import images, make
from parckit.layers import CenteredL2Norm2d, ConstantAxisConv2d, OversizedConv2d
from parckit.models import fuse


def assert_exact(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Allow what `fuse` promises in float64: 1e-10 of the largest number."""
    assert (actual - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (96, 40), (33, 65)], ids=str)
@torch.no_grad()
def test_logits_stay_the_same(size, interpolate):
    model, x = make("test_parcnetv2", interpolate_kernels=interpolate).double(), images(*size).double()
    assert_exact(fuse(model, size=size)(x), model(x))


@pytest.mark.parametrize("feature_norms", [False, True])
@torch.no_grad()
def test_features_stay_the_same(feature_norms):
    model = make("test_parcnetv2", features_only=True, feature_norms=feature_norms).double()
    x = images(48, 72).double()
    for actual, expected in zip(fuse(model, size=(48, 72))(x), model(x), strict=True):
        assert_exact(actual, expected)


@pytest.mark.parametrize(("length", "expected"), [(1.0, 1), (1e-6, 1), (1e-7, 0.1), (0, 0)])
@torch.no_grad()
def test_only_vectors_shorter_than_a_millionth_differ(length, expected):
    norm = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), CenteredL2Norm2d(2)).double()
    norm[0].weight.copy_(torch.eye(2)[:, :, None, None])
    x = torch.tensor([1.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1) / 2**0.5 * length
    lengths = [model(x).norm().item() for model in (norm, fuse(norm, size=(1, 1)))]
    assert lengths == pytest.approx([expected, 1 if length else 0], abs=1e-10)


def test_norms_become_layer_norms_and_bifurcations_two_convolutions():
    fused = fuse(make("test_parcnetv2"), size=(64, 64))
    norms = {path: module for path, module in fused.named_modules() if isinstance(module, nn.LayerNorm)}
    assert {path for path, norm in norms.items() if norm.weight is not None} == {"model.stem.norm", "model.head.norm"}
    assert not any(isinstance(module, CenteredL2Norm2d) for module in fused.modules())
    mixer, gate = fused.model.stages[0][0].mixer, fused.model.stages[0][0].gate
    assert [tuple(conv.weight.shape) for conv in (mixer.gate, mixer.value, gate.gate, gate.value)] == [
        (8, 8, 1, 1),
        (8, 8, 1, 1),
        (20, 8, 1, 1),
        (20, 8, 1, 1),
    ]


@pytest.mark.parametrize(("interpolate", "taps"), [(False, [15, 31]), (True, [15, 39])])
def test_kernels_become_constants_without_taps_that_reach_nothing(interpolate, taps):
    # Kernels of 31 taps, of which a map of 8 positions needs 15, and one of 20 would need 39.
    fused = fuse(make("test_parcnetv2", interpolate_kernels=interpolate), size=(32, 80))
    mixer = fused.model.stages[0][0].mixer
    assert [max(conv.weight.shape) for conv in (mixer.height, mixer.width)] == taps
    kinds = {type(module) for module in fused.modules()}
    assert ConstantAxisConv2d in kinds
    assert OversizedConv2d not in kinds


@torch.no_grad()
def test_the_original_keeps_its_weights():
    model = make("test_parcnetv2")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    fuse(model, size=(64, 64))
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
