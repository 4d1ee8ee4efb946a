from copy import deepcopy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from parckit.models import create_model
from parckit.tasks.precision import keep_strided_depthwise_float32


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def strided() -> list[nn.Module]:
    """Return an expansion to 8 channels, then a strided depthwise convolution of them."""
    return [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)]


def run(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return what a model makes of images, and its gradients."""
    output = model(images)
    output.float().square().sum().backward()
    return output.detach(), [weight.grad for weight in model.parameters()]


def test_float32_keeps_its_numbers_and_its_parameters_and_keys():
    images = torch.randn(2, 3, 32, 32)
    model = create_model("test_parcnet", num_classes=3, img_size=32).eval()
    spared = deepcopy(model)
    parameters = [*spared.parameters()]
    keep_strided_depthwise_float32(spared)
    convolutions = [type(module) for module in spared.modules() if isinstance(module, nn.Conv2d)]
    assert len({*convolutions}) == 2  # some were replaced
    assert [*spared.state_dict()] == [*model.state_dict()]
    assert all(one is other for one, other in zip(parameters, spared.parameters(), strict=True))
    (plain, gradients), (out, out_gradients) = run(model, images), run(spared, images)
    assert torch.equal(out, plain)
    assert all(torch.equal(one, other) for one, other in zip(out_gradients, gradients, strict=True))


def test_autocast_leaves_a_strided_depthwise_convolution_in_its_weights_type():
    model = nn.Sequential(*strided())
    keep_strided_depthwise_float32(model)
    images = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expanded, out = model[0](images), model(images)
    wanted = nn.functional.conv2d(
        expanded.float(), model[1].weight, model[1].bias, stride=2, padding=1, groups=8
    ).bfloat16()
    assert (expanded.dtype, out.dtype) == (torch.bfloat16, torch.bfloat16)
    assert torch.equal(out, wanted)


def test_convolutions_that_pad_in_their_own_way_stay():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Conv2dSame(8, 8, 3, stride=2, groups=8))
    images = torch.randn(2, 3, 7, 7)
    before = model(images)
    keep_strided_depthwise_float32(model)
    assert type(model[1]) is Conv2dSame
    assert torch.equal(model(images), before)


def test_others_stay():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, stride=2), nn.Conv2d(1, 1, 3, stride=2))
    keep_strided_depthwise_float32(model)
    assert {type(module) for module in model} == {nn.Conv2d}


def test_a_copy_has_parameters_of_its_own():
    model = nn.Sequential(*strided())
    keep_strided_depthwise_float32(model)
    copied = deepcopy(model)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(copied(images), model(images))
    with torch.no_grad():
        copied[1].weight.zero_()
    assert model[1].weight.any()
