import numpy as np
import pytest
import torch

from parckit.contract import InputError
from parckit.tasks import MixingSettings

CLASSES = 5


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of one level each, ten times their index, and as many classes as there are."""
    images = 10.0 * torch.arange(4).reshape(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    return images, torch.tensor([0, 1, 2, 4])


def mixed(mixing: MixingSettings, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return mixing.build(num_classes=CLASSES)(*batch())


@pytest.mark.parametrize("mixing", [MixingSettings(cutmix=0.0), MixingSettings(mixup=0.0), MixingSettings()], ids=str)
def test_a_class_weighs_what_its_image_weighs(mixing):
    images, targets = mixed(mixing, seed=0)
    assert (images.shape, targets.shape) == ((4, 3, 16, 16), (4, CLASSES))
    # Image 1 is 10 everywhere, and the one it meets, image 0, is 0; its own class is 1, the other's 0. Means over 768
    # values of float32 sum to a few of its roundings.
    weight = images[1].mean() / 10
    expected = torch.tensor([1 - weight, weight, 0, 0, 0])
    torch.testing.assert_close(targets[1], expected, atol=1e-5, rtol=0)
    assert 0 < weight < 1


def test_mixup_blends_and_cutmix_pastes():
    blended, _ = mixed(MixingSettings(cutmix=0.0), seed=0)
    pasted, _ = mixed(MixingSettings(mixup=0.0), seed=0)
    assert len(blended[1].unique()) == 1
    assert set(pasted[1].unique().tolist()) == {0.0, 10.0}


def test_both_are_drawn_as_often_as_switch_says():
    mixing = MixingSettings(switch=0.25)
    pasted = [set(mixed(mixing, seed=seed)[0][1].unique().tolist()) <= {0.0, 10.0} for seed in range(400)]
    # 100 of 400 are expected; 35 is four standard deviations.
    assert abs(sum(pasted) - 100) < 35


def test_weights_come_from_the_beta_distribution():
    weights = np.array([float(mixed(MixingSettings(cutmix=0.0), seed=seed)[0][1].mean() / 10) for seed in range(500)])
    # Beta(0.8, 0.8) has mean 1/2 and variance 1/10.4; 0.06 and 0.02 are four standard deviations of those of 500 draws.
    assert weights.mean() == pytest.approx(0.5, abs=0.06)
    assert weights.var() == pytest.approx(1 / 10.4, abs=0.02)


def test_the_generator_decides():
    assert torch.equal(mixed(MixingSettings(), seed=3)[0], mixed(MixingSettings(), seed=3)[0])
    assert not torch.equal(mixed(MixingSettings(cutmix=0.0), seed=3)[0], mixed(MixingSettings(cutmix=0.0), seed=4)[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixup": -0.1}, "mixing.mixup=-0.1"),
        ({"mixup": 0.0, "cutmix": 0.0}, "not both 0"),
        ({"switch": 1.5}, "mixing.switch=1.5: must lie in 0..1"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        MixingSettings(**values)
