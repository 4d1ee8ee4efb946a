import functools
import json
import operator

import pytest

from golden_fixtures import SHARED, needs_shared
from official_yaml import official
from parckit.cli.official_recipe import translate
from parckit.contract import InputError
from parckit.data import MultiScale
from parckit.tasks import Optimizer, RunLength, Schedule

AUGMENT = "image_augmentation"
NETWORK = "model.classification"
MOBILEVIT_S = {
    f"{NETWORK}.name": "mobilevit",
    f"{NETWORK}.mit.mode": "small",
    "scheduler.cosine.max_lr": 2e-3,
    "scheduler.cosine.min_lr": 2e-4,
}
BATCHES = {"sampler.name": "batch_sampler", "sampler.bs.crop_size_height": 192, "sampler.bs.crop_size_width": 160}


def ours(changes: dict[str, object], name: str) -> object:
    """Return what the recipe says under a name with dots; `...` if it says nothing."""
    try:
        return functools.reduce(operator.getitem, name.split("."), translate(official(changes)).recipe)
    except KeyError:
        return ...


def test_parc_net_s_is_translated_whole():
    translation = translate(official())
    assert translation.unmapped == ()
    assert translation.recipe == {
        "model": {
            "name": "parcnet_s",
            "kwargs": {"drop_rate": 0.2, "block_drop_rate": 0.1},
            "optimizer": {
                "name": "adamw",
                "decay_all": True,
                "weight_decay": 0.025,
                "lr": 4e-3,
                "options": {"betas": [0.9, 0.999]},
            },
            "schedule": {
                "warmup": 3000,
                "warmup_unit": "steps",
                "warmup_lr": 4e-4,
                "cosine": "run",
                "per": "epoch",
                "min_lr": 4e-4,
            },
            "label_smoothing": 0.1,
        },
        "data": {
            "source": "/data/imagenet",
            "batch_size": 128,
            "workers": 8,
            "preprocessing": {
                "size": [256, 256],
                "crop_pct": 256 / 288,
                "interpolation": "bilinear",
                "channel_order": "bgr",
            },
            "sizes": {"sides": [160, 192, 256, 288, 320], "base": 256},
            "augment": {"crop": "random_resized", "interpolation": "bilinear", "flip": 0.5},
        },
        "trainer": {
            "max_epochs": 300,
            "accumulate_grad_batches": 1,
            "sync_batchnorm": False,
            "precision": "16-mixed",
        },
        "keep_best": 5,
        "ema": {"decay": 0.9995, "ramp": False},
        "monitor": "val_top1",
    }


@pytest.fixture(scope="module")
def facts():
    return json.loads((SHARED / "train_facts.json").read_text(encoding="utf-8"))


@needs_shared
@pytest.mark.parametrize(("model", "changes"), [("parcnet_s", {}), ("mobilevit_s", MOBILEVIT_S)])
def test_the_training_is_the_recorded_one(model, changes, facts):
    # The recorded options themselves are translated, with the code's defaults that the files leave out.
    translation = translate(official(changes | facts[f"opts_cls_{model}"]))
    recipe = translation.recipe
    assert recipe["model"]["name"] == model
    assert translation.unmapped == ()
    assert recipe["ema"]["decay"] == 1 - facts["ema"]["momentum"]
    schedule, optimizer = Schedule(**recipe["model"]["schedule"]), Optimizer(**recipe["model"]["optimizer"])
    run = RunLength(steps=3_000_000, epochs=recipe["trainer"]["max_epochs"])
    for epoch, step, lr in facts[f"lr_cls_{model}"]["points"]:
        found = schedule.lr_at(step, epoch=epoch, peak=optimizer.lr, run=run)
        assert found == pytest.approx(lr, rel=1e-12)  # the same formula in float64


@needs_shared
@pytest.mark.parametrize("processes", [1, 4, 8])
def test_sizes_and_batches_are_the_recorded_ones(processes, facts):
    sizes = MultiScale(**ours({}, "data.sizes"))
    found = [
        [side, side, sizes.images(side, batch_size=ours({}, "data.batch_size"), processes=processes)]
        for side in sizes.sides
    ]
    assert found == facts[f"vbs_bs128_gpus{processes}"]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({f"{NETWORK}.edgeformer.mode": "x_small"}, "model.name", "parcnet_xs"),
        ({f"{NETWORK}.edgeformer.mode": "h"}, "model.name", "parcnet_h"),
        ({f"{NETWORK}.name": "mobilevit", f"{NETWORK}.mit.mode": "xx_small"}, "model.name", "mobilevit_xxs"),
        ({f"{NETWORK}.name": "mobilevit", f"{NETWORK}.mit.mode": "small"}, "model.kwargs", {"drop_rate": 0.2}),
        ({f"{NETWORK}.name": "resnet", f"{NETWORK}.resnet.depth": 50}, "model.name", "resnet50"),
        ({f"{NETWORK}.classifier_dropout": 0.3}, "model.kwargs.drop_rate", 0.3),
        ({f"{NETWORK}.edgeformer.dropout": 0.0}, "model.kwargs.block_drop_rate", 0.0),
        ({"model.normalization.name": "sync_batch_norm"}, "trainer.sync_batchnorm", True),
        ({"optim.name": "sgd", "optim.sgd.nesterov": True}, "model.optimizer.name", "sgd"),
        ({"optim.name": "sgd"}, "model.optimizer.name", "momentum"),
        ({"optim.name": "sgd", "optim.sgd.momentum": 0.8}, "model.optimizer.options", {"momentum": 0.8}),
        ({"optim.no_decay_bn_filter_bias": True}, "model.optimizer.decay_all", False),
        ({"optim.adamw.beta2": 0.95}, "model.optimizer.options.betas", [0.9, 0.95]),
        ({"optim.eps": 1e-6}, "model.optimizer.options.eps", 1e-6),
        ({"scheduler.warmup_iterations": ...}, "model.schedule.warmup", 0),
        ({"loss.classification.name": "cross_entropy"}, "model.label_smoothing", 0.0),
        ({f"{AUGMENT}.random_resized_crop.scale": [0.2, 1.0]}, "data.augment.scale", [0.2, 1.0]),
        ({f"{AUGMENT}.random_resized_crop.enable": False}, "data.augment.crop", "none"),
        ({f"{AUGMENT}.random_horizontal_flip.p": 0.3}, "data.augment.flip", 0.3),
        ({f"{AUGMENT}.random_horizontal_flip": ...}, "data.augment.flip", 0.0),
        ({f"{AUGMENT}.resize": {"enable": True, "size": 292}}, "data.preprocessing.crop_pct", 256 / 292),
        (BATCHES, "data.preprocessing.size", [192, 160]),
        (BATCHES, "data.preprocessing.crop_pct", 192 / 224),
        (BATCHES, "data.sizes", None),
        ({"common.accum_freq": 4}, "trainer.accumulate_grad_batches", 4),
        ({"common.grad_clip": 10.0}, "trainer.gradient_clip_val", 10.0),
        ({"common.mixed_precision": False}, "trainer.precision", "32-true"),
        ({"common.k_best_checkpoints": 3}, "keep_best", 3),
        ({"common.seed": 7}, "seed", 7),
        ({"ema.momentum": 0.0001}, "ema.decay", 0.9999),
        ({"ema.enable": False}, "ema", ...),
        ({"stats.checkpoint_metric": "loss", "stats.checkpoint_metric_max": False}, "monitor", "val_loss"),
    ],
    ids=str,
)
def test_every_key_has_its_place(changes, name, value):
    assert ours(changes, name) == value
    assert ours({}, name) != value


@pytest.mark.parametrize(
    "changes",
    [
        {"ddp.world_size": 8},
        {"dataset.val_batch_size0": 7},
        {"common.run_label": "mine"},
        {"common.auto_resume": False},
        {"optim.sgd.momentum": 0.5},
        {"scheduler.polynomial.power": 2},
        {"scheduler.max_iterations": 5},
        {"sampler.bs.crop_size_width": 224},
        {f"{AUGMENT}.random_resize": {"enable": False, "min_size": 256}},
        {f"{AUGMENT}.random_rotate.angle": 30},
        {f"{AUGMENT}.resize": {"enable": False, "size": 292}},
        {f"{NETWORK}.mit.mode": "small"},
        {"model.activation.name": "relu"},
        {"adjust_bn_momentum.enable": False},
    ],
    ids=str,
)
def test_keys_without_effect_change_nothing(changes):
    assert translate(official(changes)) == translate(official())


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("no.such_key", 3, "no.such_key: 3 (not known)"),
        (f"{NETWORK}.edgeformer.heads", None, f"{NETWORK}.edgeformer.heads: null (not known)"),
        (f"{NETWORK}.edgeformer.ffn_dropout", 0.2, "0.2 (parckit has 0)"),
        (f"{NETWORK}.activation.name", "relu", '"relu" (the model has its own activation)'),
        (f"{NETWORK}.pretrained", "a.pt", '"a.pt" (parckit has null or "")'),
        ("model.normalization.name", "layer_norm", "its own norms"),
        ("model.normalization.name", ["batch_norm"], "its own norms"),
        ("model.normalization.momentum", 0.01, "parckit has 0.1"),
        ("optim.name", "rmsprop", "only adam, adamw and sgd"),
        ("optim.name", ["adamw"], "only adam, adamw and sgd"),
        ("optim.no_decay_bn_filter_bias", "yes", "must be true or false"),
        ("scheduler.is_iteration_based", True, "parckit has false"),
        ("sampler.vbs.max_crop_size_width", 384, "can only be square"),
        ("sampler.vbs.max_n_scales", "five", "must be a number"),
        (f"{AUGMENT}.random_resized_crop.aspect_ratio", [1, 1], "parckit has [0.75, 1.33"),
        ("sampler.vbs.check_scale", 0, "division by zero"),
        (f"{AUGMENT}.resize", {"enable": True, "size": [288, 288]}, "must be a number"),
        (f"{AUGMENT}.random_erase.enable", True, "not known"),
        ("dataset.root_val", "/data/other/val", "give it to the training with --data"),
        ("dataset.workers", -1, "data.workers"),
        ("ema.copy_at_epoch", 100, "parckit has -1"),
        ("stats.checkpoint_metric", "top5", "highest top1 or lowest loss"),
    ],
    ids=str,
)
def test_what_is_lost_is_named_with_its_value_and_why(key, value, told):
    unmapped = {each.key: str(each) for each in translate(official({key: value})).unmapped}
    assert told in unmapped[next(lost for lost in unmapped if lost.startswith(key))]


@pytest.mark.parametrize(
    "changes",
    [{"sampler.vbs": {"crop_size_height": 256, "crop_size_width": 256}}, {"sampler.vbs.check_scale": ...}],
    ids=str,
)
def test_sizes_that_a_file_does_not_tell_are_not_lost_in_silence(changes):
    unmapped = {each.key: each.reason for each in translate(official(changes)).unmapped}
    assert unmapped["sampler.name"].startswith("its sizes need crop_size, max_n_scales")
    assert ours(changes, "data.sizes") is ...


def test_only_what_is_lost_is_named():
    translation = translate(official({"ema.copy_at_epoch": 100, "ddp.backend": "gloo", "dataset.workers": 8}))
    assert [each.key for each in translation.unmapped] == ["ema.copy_at_epoch"]
    assert translation.recipe == translate(official()).recipe


def test_the_model_can_be_given():
    translation = translate(official({f"{NETWORK}.edgeformer.mode": "no such mode"}), model="parcnet_h")
    assert translation.recipe["model"]["name"] == "parcnet_h"
    assert translation.unmapped == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{NETWORK}.edgeformer.mode": "tiny"}, 'edgeformer.mode: "tiny" (no model of that name .* --model'),
        ({f"{NETWORK}.name": "vit"}, f'{NETWORK}.name: "vit"'),
        ({"scheduler.max_epochs": ...}, "scheduler.max_epochs"),
        ({"scheduler.cosine.max_lr": ...}, "scheduler.cosine.max_lr"),
        ({"scheduler.name": "polynomial"}, 'scheduler.cosine.max_lr .* "polynomial" (parckit has "cosine"'),
        ({"dataset.train_batch_size0": ...}, "dataset.train_batch_size0"),
        ({"sampler": ...}, "crop_size_height"),
        ({"dataset.category": "detection"}, "dataset.category='detection': only classification"),
    ],
    ids=str,
)
def test_a_file_without_a_training_is_refused(changes, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        translate(official(changes))
