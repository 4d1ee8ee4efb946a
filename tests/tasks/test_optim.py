from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from timm.optim import muon
from torch import nn

from parckit.contract import InputError
from parckit.models import create_model
from parckit.networks import create_detector, create_segmenter
from parckit.tasks import OptimizerSettings, RunLength, ScheduleSettings
from parckit.tasks.optim import set_lr

SCHEDULE = ScheduleSettings(min_lr=0.1, warmup=0.1)

# The schedule is a handful of float64 operations on numbers near 1.
CLOSE = {"rel": 1e-12}


def rates(schedule: ScheduleSettings, *, steps: int, epochs: int = 1) -> list[float]:
    run = RunLength(steps=steps, epochs=epochs)
    return [schedule.lr_at(step, epoch=step * epochs // steps, peak=1.0, run=run) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 0.1), (5, 0.55), (10, 1.0), (40, 0.1 + 0.9 * 0.75), (55, 0.55), (70, 0.1 + 0.9 * 0.25), (100, 0.1)],
)
def test_known_points_of_the_schedule(step, lr):
    # 10 steps of warm-up, then 90 of the cosine, whose thirds lie at three and one quarters of the height.
    assert rates(SCHEDULE, steps=100)[step] == pytest.approx(lr, **CLOSE)


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 1), (0.0, 7), (0.05, 1000), (0.3, 11), (0.9, 50)])
def test_the_schedule_is_a_line_and_a_squared_cosine(warmup, steps):
    step = np.arange(steps + 1)
    warm = round(warmup * steps)
    rising = np.interp(step, [0, max(warm, 1)], [0.1, 1.0])
    falling = 0.1 + 0.9 * np.cos(np.pi / 2 * (step - warm) / (steps - warm)) ** 2
    expected = np.where(step < warm, rising, falling)
    np.testing.assert_allclose(rates(ScheduleSettings(min_lr=0.1, warmup=warmup), steps=steps), expected, rtol=1e-12)


def test_a_warmup_in_epochs_goes_by_steps_or_by_epochs():
    # Four epochs of five steps, two of warm-up from 0.
    by_step, by_epoch = (
        rates(ScheduleSettings(warmup_lr=0.0, warmup=2, warmup_unit="epochs", per=per), steps=20, epochs=4)
        for per in ("step", "epoch")
    )
    assert by_step[:11] == pytest.approx([step / 10 for step in range(11)], **CLOSE)
    assert by_epoch[:11] == pytest.approx([0.0] * 5 + [0.5] * 5 + [1.0], **CLOSE)


def test_the_cosine_of_the_whole_run_is_hidden_by_the_warmup():
    warmup = {"min_lr": 0.0, "warmup": 50, "warmup_unit": "steps"}
    run, rest = (rates(ScheduleSettings(cosine=cosine, **warmup), steps=100) for cosine in ("run", "rest"))
    assert run[:50] == rest[:50]
    assert (run[50], rest[50]) == pytest.approx((0.5, 1.0), **CLOSE)
    assert (run[75], rest[75]) == pytest.approx((np.cos(np.pi * 3 / 8) ** 2, 0.5), **CLOSE)


@pytest.mark.parametrize(("cosine", "middle"), [("run", 0.5), ("rest", 0.625)])
def test_the_rate_falls_along_a_line(cosine, middle):
    line = rates(ScheduleSettings(decay="linear", min_lr=0.0, warmup=0.2, cosine=cosine), steps=100)
    assert (line[10], line[50], line[100]) == pytest.approx((0.5, middle, 0.0), **CLOSE)


def test_the_last_epochs_cool_down():
    lrs = rates(ScheduleSettings(min_lr=0.1, warmup=0, cooldown_epochs=2), steps=40, epochs=4)
    assert lrs[10] == pytest.approx(0.55, **CLOSE)  # half of the two epochs that are left to the cosine
    assert lrs[20:] == pytest.approx([0.1] * 21, **CLOSE)


def test_drops_take_the_place_of_the_cosine():
    lrs = rates(ScheduleSettings(warmup_lr=0.1, warmup=2, warmup_unit="steps", drops=(2, 3)), steps=20, epochs=4)
    assert lrs[:20] == pytest.approx([0.1, 0.55] + [1.0] * 8 + [0.1] * 5 + [0.01] * 5, **CLOSE)


def test_the_rate_stays_at_its_end():
    late = SCHEDULE.lr_at(150, epoch=1, peak=1.0, run=RunLength(steps=100, epochs=1))
    assert late == pytest.approx(SCHEDULE.min_lr, **CLOSE)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_runs_of_a_few_steps_have_rates_within_bounds(steps):
    lrs = rates(ScheduleSettings(min_lr=0.1, warmup=0.9), steps=steps)
    assert 0.1 <= min(lrs) <= max(lrs) <= 1.0


def test_the_rate_scales_with_the_batch_it_is_meant_for():
    assert OptimizerSettings(lr_batch=4096).lr_factor(batch=512) == 1 / 8
    assert OptimizerSettings().lr_factor(batch=512) == 1


def decays(model: nn.Module, optimizer: OptimizerSettings) -> dict[str, float]:
    """Return the weight decay of every parameter that the optimizer holds, by name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = optimizer.build(model, lr=1.0).param_groups
    return {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize(("decay_all", "of_vectors"), [(False, 0.0), (True, 0.3)])
def test_norms_and_biases_decay_where_all_do(decay_all, of_vectors):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    vectors = dict.fromkeys(("0.bias", "1.weight", "1.bias", "2.bias"), of_vectors)
    expected = vectors | {"0.weight": 0.3, "2.weight": 0.3}
    assert decays(model, OptimizerSettings(weight_decay=0.3, decay_all=decay_all)) == expected


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert decays(model, OptimizerSettings(weight_decay=0.3)) == {"1.weight": 0.3, "1.bias": 0.0}


def test_early_layers_learn_more_slowly_with_layer_decay():
    model = create_model("test_parcnet", num_classes=3)
    optimizer = OptimizerSettings(layer_decay=0.5).build(model, lr=1.0)
    set_lr(optimizer, 0.2)
    rate = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    names = dict(model.named_parameters())
    assert rate[names["head.fc.weight"]] == pytest.approx(0.2, **CLOSE)
    ordered = [rate[names[name]] for name in ("stem.conv.weight", "stages.0.0.expand.conv.weight", "head.fc.weight")]
    assert ordered == sorted(ordered)
    assert ordered[0] < 0.2 / 8


@pytest.mark.parametrize(
    ("create", "name"),
    [
        (create_detector, "ssd_test_resnet"),
        *((create_segmenter, f"{head}_test_resnet") for head in ("deeplabv3", "upernet", "lraspp")),
    ],
)
@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_the_head_learns_faster_than_the_backbone(create, name, layer_decay):
    model = create(name, num_classes=2)
    model.backbone.model.conv1[0].weight.requires_grad_(False)
    settings = OptimizerSettings(weight_decay=0.3, layer_decay=layer_decay)
    usual, faster = (
        {
            weight: (group.get("lr_scale", 1.0), group["weight_decay"])
            for group in built.param_groups
            for weight in group["params"]
        }
        for built in (
            settings.build(model, lr=1.0),
            replace(settings, head_lr=10.0).build(model, lr=1.0, backbone="backbone.model."),
        )
    )
    assert usual.keys() == faster.keys()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            scale, decay = usual[weight]
            factor = 1 if name.startswith("backbone.model.") else 10
            assert faster[weight] == pytest.approx((factor * scale, decay), **CLOSE)


def test_a_network_that_is_all_backbone_has_no_faster_head():
    with pytest.raises(InputError, match=r"optimizer\.head_lr=2\.0: this network has no weights outside"):
        OptimizerSettings(head_lr=2.0).build(nn.Linear(2, 2), lr=0.1)


@pytest.mark.parametrize(
    ("create", "name"),
    [
        *((create_detector, f"{head}_test_resnet") for head in ("ssd", "tinydet", "faster_rcnn")),
        *((create_segmenter, f"{head}_test_resnet") for head in ("deeplabv3", "upernet", "lraspp")),
    ],
)
def test_the_layers_of_a_networks_backbone_learn_more_slowly_than_its_head(create, name):
    model = create(name, num_classes=2)
    groups = OptimizerSettings(layer_decay=0.5).build(model, lr=1.0).param_groups
    scale = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    names = dict(model.named_parameters())
    assert len(scale) == len(names)
    assert {scale[value] for key, value in names.items() if not key.startswith("backbone.")} == {1.0}
    ordered = [scale[names[f"backbone.model.{key}"]] for key in ("conv1.0.weight", "layer1.0.conv1.weight")]
    assert 0 < ordered[0] < ordered[1] < 1


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd", "lamb"])
def test_optimizers_by_name_take_a_step(name):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = OptimizerSettings(name=name, lr=0.1).build(layer, lr=0.1)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert type(optimizer).__name__.lower() == name
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["muon", "nmuon", "adamuon", "nadamuon"])
def test_muon_computes_in_float32_on_cpus(monkeypatch, name):
    dtypes = []

    def watch(matrix, *args, dtype=torch.bfloat16, **kwargs):
        dtypes.append(dtype)
        return orthogonalize(matrix, *args, dtype=dtype, **kwargs)

    orthogonalize = muon.zeropower_via_newtonschulz
    monkeypatch.setattr("parckit.tasks.muon._IN_FLOAT32", partial(watch, dtype=torch.float32))
    layer = nn.Linear(8, 8)
    optimizer = OptimizerSettings(name=name).build(layer, lr=0.1)
    layer(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    assert dtypes == [torch.float32]
    assert muon.zeropower_via_newtonschulz is orthogonalize


@pytest.mark.parametrize(
    ("make", "options", "named"),
    [
        (OptimizerSettings, {"lr": -1.0}, "lr=-1.0"),
        (OptimizerSettings, {"name": "adamx"}, "name='adamx'.*adamw"),
        (OptimizerSettings, {"weight_decay": -0.1}, "weight_decay=-0.1"),
        (OptimizerSettings, {"layer_decay": 0.0}, "layer_decay=0.0"),
        (OptimizerSettings, {"head_lr": 0.0}, "head_lr=0.0"),
        (ScheduleSettings, {"decay": "step"}, "decay='step'"),
        (OptimizerSettings, {"lr_batch": 0}, "lr_batch=0"),
        (ScheduleSettings, {"min_lr": -0.1}, "min_lr=-0.1"),
        (ScheduleSettings, {"warmup": 1.0}, "warmup=1.0 share"),
        (ScheduleSettings, {"warmup": -0.1, "warmup_unit": "steps"}, "warmup=-0.1 steps"),
        (ScheduleSettings, {"warmup_unit": "hours"}, "warmup_unit='hours'"),
        (ScheduleSettings, {"cosine": "none"}, "cosine='none'"),
        (ScheduleSettings, {"per": "day"}, "per='day'"),
        (ScheduleSettings, {"cooldown_epochs": -1}, "cooldown_epochs=-1"),
        (ScheduleSettings, {"drops": (0,)}, r"drops=\(0,\)"),
        (ScheduleSettings, {"drops": (3,), "cooldown_epochs": 1}, r"drops=\(3,\)"),
    ],
)
def test_impossible_values_are_refused(make, options, named):
    with pytest.raises(InputError, match=named):
        make(**options)


def test_an_option_the_optimizer_does_not_have_is_refused():
    with pytest.raises(InputError, match=r"optimizer adamw.*momentums"):
        OptimizerSettings(options={"momentums": 0.9}).build(nn.Linear(2, 2), lr=0.1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"options": {"foreach": True, "fused": True}}, r"optimizer adamw.*foreach"),
        ({"name": "fusedadam"}, r"optimizer fusedadam.*"),
    ],
)
def test_what_cannot_be_built_here_is_refused(options, error, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=error):
        OptimizerSettings(**options).build(nn.Linear(2, 2), lr=0.1)


@pytest.mark.filterwarnings("ignore:It is highly recommended to have 'opt_einsum'")
def test_only_optimizers_that_can_be_built_everywhere_are_offered():
    with pytest.raises(InputError, match="adamx") as caught:
        OptimizerSettings(name="adamx")
    offered = str(caught.value).partition("choose from ")[2].split(", ")
    assert {"adamw", "muon", "sgd"} < {*offered}
    for name in offered:
        OptimizerSettings(name=name).build(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(2, 2)), lr=0.1)


@pytest.mark.parametrize(
    ("options", "fused", "expected"),
    [({}, True, True), ({}, False, False), ({"fused": False}, True, False), ({"foreach": True}, True, None)],
)
def test_the_fused_kernel_is_taken_where_nothing_speaks_against_it(options, fused, expected):
    optimizer = OptimizerSettings(options=options).build(nn.Linear(2, 2), lr=0.1, fused=fused)
    assert optimizer.param_groups[0]["fused"] is expected


@pytest.mark.parametrize(("epochs", "too_short"), [(30, True), (31, False)])
def test_a_run_may_be_too_short_for_its_schedule(epochs, too_short):
    schedule = ScheduleSettings(warmup=20, warmup_unit="epochs", cooldown_epochs=10)
    assert schedule.never_peaks(RunLength(steps=10 * epochs, epochs=epochs)) is too_short
