import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.ops import Permute

import parckit.models  # noqa: F401  # registers the models
from parckit.contract import InputError
from parckit.measure.cam import class_activation, last_layer


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1))


def classifier(*, channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, padding=1)
    body = nn.Sequential(conv, Permute([0, 2, 3, 1])) if channels_last else conv
    pool = Permute([0, 3, 1, 2]) if channels_last else nn.Identity()
    head = nn.Sequential(pool, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    return nn.Sequential(body, head).eval()


def by_hand(image: Tensor, target: int) -> Tensor:
    """Mean pooling and a linear layer: a channel's weight is the linear layer's."""
    body, head = classifier()
    with torch.no_grad():
        strength = torch.einsum("c,chw->hw", head[-1].weight[target], body(image[None])[0]).relu()
    return strength / strength.max()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("target", range(5))
def test_the_map_is_the_one_computed_by_hand(target, channels_last, image):
    activation = class_activation(classifier(channels_last=channels_last), image, layer="0", target=target)
    assert activation.target == target
    # float32 in another order of operations
    np.testing.assert_allclose(activation.strength, by_hand(image, target), rtol=1e-4, atol=1e-5)


def test_the_target_is_by_default_the_most_probable_class(image):
    model = classifier()
    activation = class_activation(model, image, layer="0")
    with torch.no_grad():
        expected = model(image[None])[0]
    assert activation.target == int(expected.argmax())
    np.testing.assert_array_equal(activation.logits, expected)


def test_nothing_speaks_for_a_class_that_every_channel_denies(image):
    model = classifier()
    nn.init.constant_(model[1][-1].weight, -1)
    nn.init.constant_(model[0].weight, 0)
    nn.init.constant_(model[0].bias, 1)
    assert not class_activation(model, image, layer="0", target=2).strength.any()


@pytest.mark.parametrize("name", ["test_parcnet", "test_convnext", "test_resnet"])
def test_the_last_stage_of_a_backbone_gives_a_map_of_the_images_size(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    picture = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(1))
    layer = last_layer(model)
    assert layer == model.feature_info[-1]["module"]
    activation = class_activation(model, picture, layer=layer, target=3)
    assert activation.strength.shape == (64, 96)
    assert activation.strength.min() >= 0
    assert activation.strength.max() == 1


def test_nothing_is_left_on_the_model(image):
    model = classifier()
    class_activation(model, image, layer="0")
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


class Aside(nn.Module):
    """A classifier with a module that is never called and one that gives no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(3, 3, 1)
        self.pair = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(x)[0].mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("model", "layer", "said"),
    [
        (classifier(), "9", r"layer='9': no such module; choose one of 0, 1"),
        (classifier(), "1", r"layer='1': its output is no map .* but shape \(1, 5\)"),
        (Aside(), "pair", r"layer='pair': its output is no map .* but tuple"),
        (Aside(), "unused", r"layer='unused': is not called"),
    ],
    ids=["unknown", "vector", "tuple", "unused"],
)
def test_layers_without_a_map_are_refused(model, layer, said, image):
    with pytest.raises(InputError, match=said):
        class_activation(model, image, layer=layer)


def test_a_model_without_stages_needs_a_layers_name():
    with pytest.raises(InputError, match="Sequential lists no stages"):
        last_layer(classifier())
