"""Class weights against a slow reference in float64, and what follows from the numbers of images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parckit.contract import InputError
from parckit.data import IndexedImages
from parckit.tasks import Classify
from parckit.tasks.class_weights import resolve_class_weights

LABELS = ("cat", "dog", "owl")
IMAGES = np.repeat([0, 1, 2], [6, 3, 1])
TABLE = SimpleNamespace(labels=LABELS, targets=IMAGES)


def task(class_weights, *, label_smoothing: float = 0.0, sampling: str = "natural") -> Classify:
    made = Classify(class_weights=class_weights, label_smoothing=label_smoothing)
    made.see_images(TABLE, sampling=sampling, on_error="raise")
    return made


def reference(logits: Tensor, targets: Tensor, *, weights: list[float], smoothing: float) -> float:
    """Sum over images and classes, one at a time."""
    total = 0.0
    for row, target in zip(logits.double(), targets, strict=True):
        log_p = row - row.exp().sum().log()
        wanted = np.eye(3)[int(target)] if target.ndim == 0 else target.double().numpy()
        wanted = (1 - smoothing) * wanted + smoothing / 3
        total -= sum(weights[index] * wanted[index] * float(log_p[index]) for index in range(3))
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_weighted_with_smoothing_and_mixing(smoothing, mixed):
    torch.manual_seed(0)
    logits = torch.randn(7, 3)
    targets = torch.randn(7, 3).softmax(1) if mixed else torch.arange(7) % 3
    # The mean over 6 cats, 3 dogs and an owl is (6 + 3 + 5) / 10 without scaling.
    weights = [1 / 1.4, 1 / 1.4, 5 / 1.4]
    loss = task({"owl": 5.0}, label_smoothing=smoothing).loss(nn.Identity(), logits, targets)
    # A few roundings of float32.
    assert loss.item() == pytest.approx(reference(logits, targets, weights=weights, smoothing=smoothing), rel=1e-6)


@pytest.mark.parametrize(
    ("wanted", "sampling", "shown"),
    [
        ("balanced", "natural", "cat 0.556, dog 1.11, owl 3.33"),
        ("sqrt", "natural", "cat 0.788, dog 1.11, owl 1.93"),
        ("balanced", "balanced", "cat 1, dog 1, owl 1"),  # balanced once is enough
        ({"owl": 5.0}, "natural", "cat 0.714, dog 0.714, owl 3.57"),
        ({"owl": 5.0}, "balanced", "cat 0.429, dog 0.429, owl 2.14"),
        ([0.0, 1.0, 2.0], "natural", "cat 0, dog 2, owl 4"),
    ],
)
def test_weights_have_a_mean_of_1_over_what_is_drawn(wanted, sampling, shown):
    assert task(wanted, sampling=sampling).notes == [f"class weights: {shown}"]


def test_without_class_weights_nothing_is_said():
    assert list(task(None).notes) == []


def test_classes_named_by_numbers_can_be_given_as_yaml_reads_them():
    digits = Classify(class_weights={1: 3.0})
    digits.see_images(
        SimpleNamespace(labels=("0", "1"), targets=np.array([0, 1])), sampling="natural", on_error="raise"
    )
    assert digits.notes == ["class weights: 0 0.5, 1 1.5"]


def test_of_many_classes_the_extremes_are_shown():
    many = Classify(class_weights="balanced")
    targets = np.repeat(range(20), [4, *[2] * 18, 1])
    many.see_images(
        SimpleNamespace(labels=tuple(map(str, range(20))), targets=targets), sampling="natural", on_error="raise"
    )
    assert many.notes == ["class weights: from 0.513 (0) to 2.05 (19)"]


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"ow": 5.0}, "no class 'ow'; they have cat, dog, owl"),
        ([1.0, 2.0], "has 2 weights, but the data have 3 classes"),
        ([0.0, 0.0, 0.0], "all training data would count 0"),
        ([1.0, -1.0, 1.0], r"class_weights=\[1.0, -1.0, 1.0\]: must be"),
        ({"owl": float("inf")}, "class_weights={'owl': inf}: must be"),
        ({"owl": 1e300}, r"with weights from 0 to 1e\+09"),
    ],
)
def test_mistakes_are_named(wanted, named):
    with pytest.raises(InputError, match=named):
        task(wanted)


def test_validation_and_checkpoints_know_nothing_of_weights(make_data, train):
    weighted, data = Classify(class_weights={"red": 9.0}), make_data(sampling="balanced")
    weighted.see_images(data._train._table, sampling="balanced", on_error="raise")
    trainer = train(data, limits={"max_steps": 1}, task=weighted)
    assert not [key for key in trainer.lightning_module.state_dict() if "weights" in key]
    logits = torch.tensor([[1.0, 0.0, 0.0]])
    plain = nn.functional.cross_entropy(logits, torch.tensor([2]))
    assert weighted.validation_losses([logits], torch.tensor([2])).item() == plain.item()
    assert isinstance(data._val, IndexedImages)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_class_weights_work_under_every_precision(precision, make_data, train):
    weighted, data = Classify(class_weights="balanced"), make_data()
    weighted.see_images(data._train._table, sampling="natural", on_error="raise")
    trainer = train(data, limits={"max_steps": 1, "precision": precision}, task=weighted)
    assert trainer.global_step == 1


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_the_precision_of_the_network_does_not_round_weights_and_loss(precision, make_data, train):
    weighted, data = Classify(class_weights={"red": 9.0}), make_data()
    weighted.see_images(data._train._table, sampling="natural", on_error="raise")
    before = weighted._class_weights
    train(data, limits={"max_steps": 1, "precision": precision}, task=weighted)
    assert torch.equal(weighted._class_weights.float(), before)


def test_a_loss_in_double_precision_stays_so():
    logits, targets = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3
    loss = task({"owl": 5.0}).loss(nn.Identity(), logits, targets)
    assert loss.dtype is torch.float64
    # The weights are float32.
    weights = torch.tensor([1 / 1.4, 1 / 1.4, 5 / 1.4]).tolist()
    assert loss.item() == pytest.approx(reference(logits, targets, weights=weights, smoothing=0.0), rel=1e-7)


@pytest.mark.parametrize("wanted", ["balanced", "sqrt", {"dog": 2.0}, [1.0, 2.0, 3.0]])
def test_a_class_that_never_occurs_leaves_all_weights_finite(wanted):
    weights = resolve_class_weights(wanted, labels=LABELS, counts=np.array([900, 100, 0]))
    assert np.isfinite(weights).all()
    assert (900 * weights[0] + 100 * weights[1]) / 1000 == pytest.approx(1)


def test_weights_that_float32_cannot_hold_are_refused():
    # The class with the large weight never occurs, so the mean is that of the tiny weights.
    with pytest.raises(InputError, match=r"more than 1e\+09 times the mean weight"):
        resolve_class_weights([1e-40, 1e-40, 1.0], labels=LABELS, counts=np.array([900, 100, 0]))
