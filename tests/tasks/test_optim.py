import numpy as np
import pytest
import torch
from torch import nn

from parckit.contract import InputError
from parckit.tasks import AdamWCosine

SCHEDULE = AdamWCosine(lr=1.0, min_lr=0.1, warmup=0.1)

# The schedule is a handful of float64 operations on numbers near 1.
CLOSE = {"rel": 1e-12}


def rates(schedule: AdamWCosine, *, total_steps: int) -> list[float]:
    return [schedule.lr_at(step, total_steps=total_steps) for step in range(total_steps + 1)]


@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 0.1), (5, 0.55), (10, 1.0), (40, 0.1 + 0.9 * 0.75), (55, 0.55), (70, 0.1 + 0.9 * 0.25), (100, 0.1)],
)
def test_known_points_of_the_schedule(step, lr):
    # 10 steps of warm-up, then 90 of the cosine, whose thirds lie at three and one quarters of the height.
    assert SCHEDULE.lr_at(step, total_steps=100) == pytest.approx(lr, **CLOSE)


@pytest.mark.parametrize(("warmup", "total_steps"), [(0.0, 1), (0.0, 7), (0.05, 1000), (0.3, 11), (0.9, 50)])
def test_the_schedule_is_a_line_and_a_squared_cosine(warmup, total_steps):
    steps = np.arange(total_steps + 1)
    warm = round(warmup * total_steps)
    rising = np.interp(steps, [0, max(warm, 1)], [0.1, 1.0])
    falling = 0.1 + 0.9 * np.cos(np.pi / 2 * (steps - warm) / (total_steps - warm)) ** 2
    expected = np.where(steps < warm, rising, falling)
    found = rates(AdamWCosine(lr=1.0, min_lr=0.1, warmup=warmup), total_steps=total_steps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_rate_rises_then_falls():
    found = np.diff(rates(SCHEDULE, total_steps=200))
    assert (found[:20] > 0).all()
    assert (found[20:] < 0).all()


def test_the_rate_stays_at_its_end():
    assert SCHEDULE.lr_at(150, total_steps=100) == pytest.approx(SCHEDULE.min_lr, **CLOSE)


@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_runs_of_a_few_steps_have_rates_within_bounds(total_steps):
    found = rates(AdamWCosine(lr=1.0, min_lr=0.1, warmup=0.9), total_steps=total_steps)
    assert 0.1 <= min(found) <= max(found) <= 1.0


def test_the_optimizer_gets_the_schedule():
    optimizer, scheduler = SCHEDULE.build(nn.Linear(2, 2), total_steps=10)
    found = []
    for _ in range(10):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    expected = [[lr, lr] for lr in rates(SCHEDULE, total_steps=10)[:-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def decays(model: nn.Module, schedule: AdamWCosine) -> dict[str, float]:
    """Return the weight decay of every parameter that the optimizer holds, by name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimizer, _ = schedule.build(model, total_steps=1)
    return {
        names[parameter]: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }


def test_norms_and_biases_do_not_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    expected = {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.3, "2.bias": 0.0}
    assert decays(model, AdamWCosine(weight_decay=0.3)) == expected


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert decays(model, AdamWCosine(weight_decay=0.3)) == {"1.weight": 0.3, "1.bias": 0.0}


def test_it_is_adamw():
    optimizer, _ = AdamWCosine().build(nn.Linear(2, 2), total_steps=1)
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lr": 1e-6}, "lr=1e-06"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"min_lr": 0.0}, "min_lr=0.0"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"warmup": -0.1}, "warmup=-0.1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
    ],
)
def test_impossible_values_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        AdamWCosine(**options)
