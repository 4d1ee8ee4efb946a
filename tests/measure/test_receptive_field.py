import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import parckit.models  # noqa: F401  # registers the models
from parckit.contract import InputError
from parckit.measure.receptive_field import last_map, recalibrate_norms, receptive_field, smallest_window

# float32 gradients, summed in float64.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-12}


def images(*size: int, batch: int = 2, chans: int = 3) -> Tensor:
    return torch.randn(batch, chans, *size, generator=torch.Generator().manual_seed(1))


def conv(in_chans: int, out_chans: int, side: int, **kwargs: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(in_chans, out_chans, side, padding=side // 2, **kwargs)


def test_a_stack_of_three_by_three_convolutions_sees_a_binomial_blob():
    stack = nn.Sequential(*(conv(1, 1, 3) for _ in range(3)))
    for layer in stack:
        nn.init.ones_(layer.weight)
    field = receptive_field(stack, [images(15, 17, chans=1)])
    row = np.array([1, 3, 6, 7, 6, 3, 1]) / 27
    expected = np.zeros((15, 17))
    expected[4:11, 5:12] = np.outer(row, row)
    np.testing.assert_allclose(field.contribution, expected, **FLOAT32)


def test_outputs_are_summed_before_the_absolute_value_and_inputs_after():
    layer = conv(3, 4, 5)
    field = receptive_field(layer, [images(5, 5)])
    expected = layer.weight.detach().double().sum(0).abs().sum(0)
    np.testing.assert_allclose(field.contribution, expected / expected.sum(), **FLOAT32)


def test_images_count_equally_however_they_are_batched():
    pictures = images(6, 8, batch=5)

    def energy(x: Tensor) -> Tensor:
        return (x**2).sum(dim=(2, 3), keepdim=True)

    # The gradient of the energy is twice the image.
    expected = pictures.double().abs().sum(dim=(0, 1))
    for batches in ([pictures], pictures.split(2), pictures.split(1)):
        field = receptive_field(energy, batches)
        np.testing.assert_allclose(field.contribution, expected / expected.sum(), **FLOAT32)
        assert field.images == 5


@pytest.mark.parametrize(("size", "centre"), [((7, 5), (3, 2)), ((8, 6), (4, 3)), ((1, 1), (0, 0))])
def test_the_centre_is_the_middle_or_just_behind_it(size, centre):
    field = receptive_field(nn.Identity(), [images(*size)])
    assert np.argwhere(field.contribution).tolist() == [[*centre]]


def test_parc_net_sees_the_whole_image_where_a_small_resnet_does_not():
    torch.manual_seed(0)
    whole = timm.create_model("test_parcnet").eval()
    recalibrate_norms(whole, images(64, 768))
    assert (receptive_field(last_map(whole), [images(64, 768)]).contribution > 0).all()
    local = timm.create_model("test_resnet").eval()
    recalibrate_norms(local, images(64, 768))
    assert (receptive_field(last_map(local), [images(64, 768)]).contribution == 0).any()


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="batches is empty"):
        receptive_field(nn.Identity(), [])


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf")])
def test_a_centre_without_gradients_is_refused(factor):
    with pytest.raises(InputError, match=r"no receptive field: its gradients add up to (0\.0|nan|inf)"):
        receptive_field(lambda x: factor * x, [images(4, 4)])


def square_of(field: np.ndarray, share: float) -> tuple[int, int, int, int]:
    window = smallest_window(field, share=share)
    return window.top, window.left, window.height, window.width


def test_the_smallest_square_may_lie_anywhere():
    field = np.zeros((9, 12))
    field[7:9, 10:12] = 1
    field[0, 0] = 1
    assert square_of(field, 0.2) in {(0, 0, 1, 1), (7, 10, 1, 1), (7, 11, 1, 1), (8, 10, 1, 1), (8, 11, 1, 1)}
    assert square_of(field, 0.8) == (7, 10, 2, 2)


def test_a_square_wider_than_the_image_is_cut():
    field = np.zeros((4, 10))
    field[0, 0] = field[3, 9] = 1
    window = smallest_window(field, share=1.0)
    assert (window.top, window.left, window.height, window.width) == (0, 0, 4, 10)
    assert window.area == 1.0
    assert smallest_window(field, share=0.5).area == 1 / 40


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99, 1.0])
def test_no_smaller_square_holds_the_share(share):
    field = np.random.default_rng(0).random((11, 14)) ** 4
    window = smallest_window(field, share=share)
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    # Float64 sums in another order.
    assert field[rows, columns].sum() >= share * field.sum() * (1 - 1e-12)
    side = max(window.height, window.width) - 1
    smaller = [
        field[top : top + side, left : left + side].sum()
        for top in range(max(1, 11 - side + 1))
        for left in range(14 - side + 1)
    ]
    assert max(smaller) < share * field.sum()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match=f"share={share}"):
        smallest_window(np.ones((3, 3)), share=share)


@pytest.mark.parametrize("name", ["test_parcnet", "test_convnext", "test_resnet", "test_vit"])
def test_the_last_map_is_that_of_the_last_stage(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    maps = last_map(model)(images(160, 160))
    assert maps.shape[:2] == (2, model.feature_info[-1]["num_chs"])
    assert maps.ndim == 4


def test_the_last_map_comes_before_a_norm_that_would_hide_everything():
    torch.manual_seed(0)
    model = timm.create_model("test_vit").eval()
    assert model.forward_features(images(160, 160)).sum(-1).abs().max() < 1e-4  # what a fresh LayerNorm leaves
    assert last_map(model)(images(160, 160)).sum(1).abs().max() > 0.1


def test_a_module_without_maps_is_refused():
    with pytest.raises(InputError, match="Conv2d cannot give its maps"):
        last_map(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet"])
def test_settled_branches_count_and_biases_stay(name):
    torch.manual_seed(0)
    model = timm.create_model(name, **({"zero_init_last": True} if name == "test_resnet" else {})).eval()
    before = {key: value.clone() for key, value in model.named_parameters()}
    recalibrate_norms(model, images(64, 64))
    changed = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {key for key, value in before.items() if "bias" not in key and value.abs().max() < 1e-2}
    assert changed
    assert all((model.get_parameter(key) == 1).all() for key in changed)


def test_settled_batch_norms_know_their_input():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).eval()
    pictures = 5 + 3 * images(8, 8, batch=4)
    recalibrate_norms(norm, pictures)
    assert not norm.training
    normed = norm(pictures)
    # The running variance is the unbiased one, of 256 numbers.
    assert normed.mean().item() == pytest.approx(0, abs=1e-5)
    assert normed.std().item() == pytest.approx(1, rel=5e-3)
