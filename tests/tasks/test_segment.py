"""How networks that tell the class of every pixel are trained."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import parckit
from mask_files import quarters, write_mask, write_pairs
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.data import PixelClasses, open_mask_table
from parckit.networks import build_network
from parckit.processing import IGNORED
from parckit.tasks.segment import Segment

# Sums of some hundred float32 numbers near 1, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


class Fixed(nn.Module):
    """A network whose logits are known."""

    def __init__(self, logits: torch.Tensor, auxiliary: torch.Tensor | None = None) -> None:
        super().__init__()
        self.logits, self.auxiliary = logits, auxiliary

    def training_logits(self, images):
        return self.logits, self.auxiliary


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, list[PixelClasses]]:
    """Return logits of 3 classes at a quarter of the size, images, and classes with some pixels ignored."""
    torch.manual_seed(0)
    classes = torch.randint(0, 3, (2, 16, 24), dtype=torch.uint8)
    classes[0, :4] = IGNORED
    return torch.randn(2, 3, 4, 6), torch.zeros(2, 3, 16, 24), [PixelClasses(one) for one in classes]


def reference(logits: torch.Tensor, targets: list[PixelClasses]) -> np.ndarray:
    """Return -log p of the true class of every labelled pixel, in float64, one array for each image."""
    whole = F.interpolate(logits.double(), size=(16, 24), mode="bilinear", align_corners=False)
    losses = -whole.log_softmax(dim=1)
    return [
        np.array(
            [
                losses[image, int(label), row, column]
                for (row, column), label in np.ndenumerate(target.in_input.numpy())
                if label != IGNORED
            ]
        )
        for image, target in enumerate(targets)
    ]


def test_the_loss_is_the_mean_over_labelled_pixels(batch):
    logits, images, targets = batch
    expected = np.concatenate(reference(logits, targets)).mean()
    loss = Segment().loss(Fixed(logits), images, targets)
    np.testing.assert_allclose(float(loss), expected, **CLOSE)


def test_the_validation_loss_is_that_of_every_image(batch):
    logits, _, targets = batch
    losses = Segment().validation_losses([logits], targets)
    np.testing.assert_allclose(losses.numpy(), [part.mean() for part in reference(logits, targets)], **CLOSE)


def test_the_auxiliary_head_counts_less(batch):
    logits, images, targets = batch
    auxiliary = torch.randn(2, 3, 2, 3)
    main, beside = (np.concatenate(reference(one, targets)).mean() for one in (logits, auxiliary))
    loss = Segment(auxiliary_weight=0.25).loss(Fixed(logits, auxiliary), images, targets)
    np.testing.assert_allclose(float(loss), main + 0.25 * beside, **CLOSE)


def test_a_batch_without_labels_has_loss_0_and_finite_gradients(batch):
    logits, images, _ = batch
    logits.requires_grad_()
    targets = [PixelClasses(torch.full((16, 24), IGNORED, dtype=torch.uint8))] * 2
    task = Segment()
    loss = task.loss(Fixed(logits), images, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert bool((logits.grad == 0).all())
    assert task.validation_losses([logits], targets).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight=-1.0"),
        ({"auxiliary_weight": math.inf}, "auxiliary_weight=inf"),
        ({"class_weights": [1.0, -1.0]}, "class_weights"),
    ],
)
def test_wrong_settings_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        Segment(**options)


def test_one_class_is_nothing_to_learn():
    with pytest.raises(InputError, match="only the class 'sky'"):
        Segment().check_labels(["sky"], source="streets")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe that trains a light decoder on a few scenes."""
    content = {
        "task": {"name": "segment", "class_weights": "balanced"},
        "model": {"name": "test_resnet", "head": "lraspp", "head_kwargs": {"width": 8}},
        "data": {"source": "digit_scenes:9", "batch_size": 4, "workers": 0, "preprocessing": {"size": [64, 64]}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "limit_val_batches": 1},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_segmenter_trains_and_is_validated(recipe, tmp_path):
    run = parckit.train(recipe, out=tmp_path / "run")
    assert run.monitor == "val_miou"
    with run.metrics.open() as file:
        columns = next(csv.reader(file))
    assert {"val_miou", "val_pixel_accuracy", "val_loss", "train_loss"} <= set(columns)


def test_balanced_weights_give_all_classes_the_same_share(batch):
    logits, images, targets = batch
    counts = np.bincount(torch.stack([one.in_input for one in targets]).flatten(), minlength=256)[:3]

    class Table:
        labels = ("a", "b", "c")

        class targets:  # noqa: N801 - an attribute of a table
            count_pixels = staticmethod(lambda *, classes, on_error: counts)

    task = Segment(class_weights="balanced")
    task.see_images(Table, sampling="natural", on_error="raise")
    weights = counts.sum() / counts / 3
    parts = np.concatenate(reference(logits, targets))
    labels = torch.cat([one.in_input.flatten() for one in targets])
    labels = labels[labels != IGNORED].numpy()
    loss = task.loss(Fixed(logits), images, targets)
    np.testing.assert_allclose(float(loss), (weights[labels] * parts).mean(), **CLOSE)
    assert "class weights: a" in task.notes[0]


@pytest.mark.parametrize("wanted", ["balanced", "sqrt", {"a": 2.0}, [1.0, 2.0, 3.0]])
def test_one_class_is_weighted_and_no_labelled_pixel_is_refused(wanted, tmp_path):
    table = open_mask_table(str(write_pairs(tmp_path, {"x": quarters(1, 1)}, classes="a\nb\nc\n")), split="all")
    task = Segment(class_weights=wanted)
    task.see_images(table, sampling="natural", on_error="raise")
    assert task._class_weights.isfinite().all()
    assert task._class_weights[1] == 1
    write_mask(tmp_path / "masks" / "x.png", quarters(IGNORED, IGNORED))
    with pytest.raises(InputError, match="no pixel of the training pictures has a class"):
        Segment(class_weights=wanted).see_images(table, sampling="natural", on_error="raise")


def _spec(head: str) -> NetworkSpec:
    return NetworkSpec(
        task="segment",
        backbone="test_resnet",
        head=head,
        head_kwargs={"width": 8},
        labels=("a", "b"),
        preprocessing=Preprocessing(size=(64, 64)),
    )


def test_a_head_trains_on_a_real_network():
    torch.manual_seed(0)
    spec = _spec("lraspp")
    network, task = build_network(spec).train(), Segment()
    task.begin(network, spec)
    targets = [PixelClasses(torch.randint(0, 2, (64, 64), dtype=torch.uint8)) for _ in range(2)]
    loss = task.loss(network, torch.rand(2, 3, 64, 64), targets)
    loss.backward()
    assert math.isfinite(float(loss.detach()))


def test_a_batch_of_one_image_is_refused_where_it_cannot_be_normed():
    spec = _spec("upernet")
    targets = [PixelClasses(torch.zeros(64, 64, dtype=torch.uint8))]
    with pytest.raises(InputError, match="a batch of one image: this network needs two or more"):
        Segment().loss(build_network(spec).train(), torch.rand(1, 3, 64, 64), targets)
