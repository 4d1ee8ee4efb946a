"""Validations follow optimizer steps, because a checkpoint holds no accumulated gradients."""

from types import SimpleNamespace

import pytest

from parckit.contract import InputError
from parckit.tasks.trainer_options import align_validation


def trainer(every: float, *, accumulated: int, in_epochs: int | None) -> SimpleNamespace:
    return SimpleNamespace(
        val_check_interval=every, accumulate_grad_batches=accumulated, check_val_every_n_epoch=in_epochs
    )


@pytest.mark.parametrize(
    ("every", "accumulated", "in_epochs", "aligned"),
    [
        (1.0, 1, 1, 1.0),
        (0.3, 1, 1, 0.3),
        (7, 1, 1, 7),
        (1.0, 3, 1, 10),
        (0.5, 3, 1, 3),
        (0.01, 3, 1, 3),
        (6, 3, 1, 6),
        (10, 3, 1, 10),
        (0.5, 99, 1, 10),
        (10, 99, 1, 10),
        (20, 3, None, 20),
        (4, 2, None, 4),
        (7, 3, 1, None),
        (5, 99, 1, None),
        (6, 3, None, None),
        (0.5, 3, None, None),
    ],
)
def test_validations_follow_steps(every, accumulated, in_epochs, aligned):
    run = trainer(every, accumulated=accumulated, in_epochs=in_epochs)
    if aligned is None:
        with pytest.raises(InputError, match=r"^--trainer.val_check_interval \d+: must be a multiple"):
            align_validation(run, batches=10)
    else:
        align_validation(run, batches=10)
        assert run.val_check_interval == aligned
