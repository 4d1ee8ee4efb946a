"""An optimizer step over several batches equals a step over one large batch with the same images."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from parckit.tasks import Classify, OptimizerSettings, StepMetrics
from pictures import COLOURS, break_picture

# Plain gradient descent shows the length of a gradient, which Adam hides. The network has no batch norms.
SETTINGS = {
    "name": "test_parcnetv2",
    "kwargs": {"img_size": 32, "drop_path_rate": 0.0},
    "optimizer": OptimizerSettings(name="sgd", lr=0.1, weight_decay=0.0, options={"momentum": 0.0, "nesterov": False}),
}


@pytest.fixture
def weights_after(make_data, train) -> Callable[..., Tensor]:
    def run(
        *,
        batch_size: int,
        batches: int,
        accumulated: int = 1,
        epochs: int = 1,
        class_weights: dict[str, float] | None = None,
        **others: object,
    ) -> Tensor:
        """Train on the first images of each epoch; return all weights, and note the first and the last loss."""
        torch.manual_seed(0)  # of the first weights
        data = make_data(batch_size=batch_size, on_error="skip")
        limits = {
            "max_epochs": epochs,
            "limit_train_batches": batches,
            "accumulate_grad_batches": accumulated,
            "limit_val_batches": 0,
            "precision": "64-true",
            **others,
        }
        metrics, task = StepMetrics(), Classify(class_weights=class_weights)
        task.see_images(data._train._table, sampling="natural", on_error="raise")
        trainer = train(data, limits=limits, callbacks=[metrics], task=task, **SETTINGS)
        run.mean_loss = metrics.mean_loss
        return torch.cat([weight.detach().flatten() for weight in trainer.lightning_module.model.parameters()])

    return run


assert_equal = partial(torch.testing.assert_close, rtol=0, atol=1e-11)
# Gradients in float64 that are summed in another order differ by 1e-15; in four steps this grows to 3e-12.
# A step of the wrong length changes weights by 1e-4.


def test_full_steps_equal_large_batches(weights_after):
    assert_equal(
        weights_after(batch_size=4, batches=6, accumulated=3, epochs=2),
        weights_after(batch_size=12, batches=2, epochs=2),
    )


@pytest.mark.parametrize(("batches", "accumulated"), [(3, 4), (1, 2)])
def test_a_step_with_fewer_batches_equals_a_batch_of_their_images(batches, accumulated, weights_after):
    large = weights_after(batch_size=4 * batches, batches=1, epochs=2)
    assert_equal(weights_after(batch_size=4, batches=batches, accumulated=accumulated, epochs=2), large)


def test_the_last_step_of_an_epoch_equals_a_batch_of_its_images(weights_after):
    # Steps of two batches and one batch. Without the last step, the weights are those of the first step alone.
    steps = weights_after(batch_size=5, batches=3, accumulated=2)
    first = weights_after(batch_size=10, batches=1)
    last = weights_after(batch_size=5, batches=3, accumulated=2, max_steps=1)
    assert_equal(last, first)
    assert (steps - first).abs().max() > 1e-4


@pytest.mark.parametrize(("broken", "clip"), [(5, None), (12, 0.1)])
def test_broken_images_do_not_count(broken, clip, folder, weights_after):
    for number in range(broken):
        break_picture(folder / "train", number=number // 3, colour=COLOURS[number % 3])
    small = weights_after(batch_size=7, batches=4, accumulated=4, gradient_clip_val=clip)
    mean_loss = weights_after.mean_loss
    assert_equal(small, weights_after(batch_size=28, batches=1, gradient_clip_val=clip))
    assert mean_loss == pytest.approx(weights_after.mean_loss, rel=0.2), "it is not weighted"


def test_class_weights_count_in_a_step_as_in_a_large_batch(weights_after):
    weighted = partial(weights_after, class_weights={"red": 9.0})
    large = weighted(batch_size=12, batches=1)
    assert_equal(weighted(batch_size=3, batches=4, accumulated=4), large)
    assert (large - weights_after(batch_size=12, batches=1)).abs().max() > 1e-4
