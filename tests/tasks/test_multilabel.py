"""Training with several labels an image: its loss, and what it sees of the images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import Table
from parckit.tasks import Multilabel

LABELS = ("ant", "bee", "cat")
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
TARGETS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def table(targets: np.ndarray) -> Table:
    return SimpleNamespace(labels=LABELS, targets=targets.astype(np.bool_), served="train")  # type: ignore[return-value]


def expected_loss(targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    shares = LOGITS.double().sigmoid()
    return -(weights * targets * shares.log() + (1 - targets) * (1 - shares).log())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_of_the_cross_entropies_of_all_labels(smoothing):
    loss = Multilabel(label_smoothing=smoothing).loss(nn.Identity(), LOGITS, TARGETS)
    smoothed = TARGETS * (1 - smoothing) + smoothing / 2
    # float32
    torch.testing.assert_close(loss.double(), expected_loss(smoothed, torch.ones(3)).mean(), rtol=1e-6, atol=0)


def test_balanced_weights_let_images_with_and_without_a_label_count_alike():
    task = Multilabel(pos_weight="balanced")
    targets = np.zeros((400, 3))
    targets[:100, 0] = 1
    targets[:1, 1] = 1
    task.see_images(table(targets), sampling="natural", on_error="raise")
    # "ant": 300 images without it for 100 with it; "bee" reaches the limit; "cat" has no image.
    weights = torch.tensor([3.0, 100.0, 100.0])
    loss = task.loss(nn.Identity(), LOGITS, TARGETS)
    torch.testing.assert_close(loss.double(), expected_loss(TARGETS, weights).mean(), rtol=1e-6, atol=0)
    assert task.notes == [
        "no training image has the label cat",
        "weights of images that have the label: ant 3, bee 100, cat 100",
    ]
    # The validation loss has no weights.
    losses = task.validation_losses([LOGITS], TARGETS)
    torch.testing.assert_close(losses.double(), expected_loss(TARGETS, torch.ones(3)).mean(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_precision_of_the_network_does_not_round_weights_and_loss(dtype):
    task = Multilabel(pos_weight="balanced")
    targets = np.zeros((400, 3))
    targets[:99, 0] = 1
    task.see_images(table(targets), sampling="natural", on_error="raise")
    # The logits are whole numbers and halves, which bfloat16 holds; 301 / 99 it does not hold.
    loss = task.loss(nn.Identity(), LOGITS.to(dtype), TARGETS.to(dtype))
    expected = expected_loss(TARGETS, torch.tensor([301 / 99, 100.0, 100.0]).double()).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    losses = task.validation_losses([LOGITS], TARGETS.to(dtype))
    torch.testing.assert_close(losses.double(), expected_loss(TARGETS, torch.ones(3)).mean(1), rtol=1e-6, atol=0)


def test_mixed_labels_weigh_what_their_images_weigh():
    task = Multilabel(mixup=0.8)
    spec = NetworkSpec(task="multilabel", backbone="x", labels=LABELS, preprocessing=Preprocessing(size=(4, 4)))
    task.begin(nn.Identity(), spec)
    torch.manual_seed(0)
    images, targets = task.change_batch(torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]), TARGETS)
    share = images[1, 0, 0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(targets[1], share * TARGETS[1] + (1 - share) * TARGETS[0])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"mixup": -0.5}, "mixup=-0.5"),
        ({"pos_weight": "heavy"}, "pos_weight='heavy'"),
    ],
    ids=str,
)
def test_bad_values_are_named(settings, named):
    with pytest.raises(InputError, match=named):
        Multilabel(**settings)
