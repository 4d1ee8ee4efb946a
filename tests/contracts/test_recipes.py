"""What every shipped recipe promises."""

import functools
import json
import re
import shlex
from itertools import dropwhile
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import yaml

from golden_fixtures import needs_shared, official_input, read_train_facts
from parckit.cli.parsing import recipes_folder
from parckit.cli.train import make_parser
from parckit.contract import InputError, ModelSpec, Preprocessing
from parckit.data import Augment, MultiScale
from parckit.models import build_model
from parckit.tasks import Averaging, Mixing, Optimizer, RunLength, Schedule
from repository import ROOT

FOLDER = recipes_folder()
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
LABELS = ("ant", "bee", "cat")
GROUPS = (
    "",
    "model",
    "model.optimizer",
    "model.schedule",
    "data",
    "data.preprocessing",
    "data.augment",
    "trainer",
    "ema",
)
IMAGENET = [name for name in NAMES if name.startswith("classify/imagenet_")]
# Images of an ImageNet-1k epoch; with the recipes' batches, the length of the runs that schedules are asked about.
TRAIN_IMAGES = 1_281_167

every = pytest.mark.parametrize("name", NAMES)
every_imagenet = pytest.mark.parametrize("name", IMAGENET)


@pytest.fixture(scope="module")
def parser():
    return make_parser()


@pytest.fixture(scope="module")
def parse(parser):
    """Return a function that parses a recipe, every one of them once."""
    return functools.cache(lambda name: parser.parse(["--config", name]))


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def head_of(name: str) -> dict[str, str]:
    """Return the statements of the head comment, `# Name: text`, where further lines of a text are indented."""
    head = re.match(r"(?:#[^\n]*\n)*", text_of(name))[0].replace("\n#   ", " ")
    return dict(re.findall(r"^# (\w+): (.+)$", head, re.MULTILINE))


def lr_at(config, *, epoch: int, step: int) -> float:
    """Return the learning rate of a recipe with the batch that it was written for."""
    optimizer, schedule = Optimizer(**config.model.optimizer.as_dict()), Schedule(**config.model.schedule.as_dict())
    epochs = config.trainer.max_epochs
    run = RunLength(steps=epochs * (TRAIN_IMAGES // optimizer.lr_batch), epochs=epochs)
    return schedule.lr_at(step, epoch=epoch, peak=optimizer.lr, run=run)


def test_there_are_recipes_and_nothing_else():
    assert {"classify/digits_parcnet_xxs", "classify/cifar10_parcnet_xs", "classify/finetune_small"} <= {*NAMES}
    assert len(IMAGENET) == 11
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} == {".yaml"}


@every
def test_it_parses(name, parse):
    config = parse(name)
    content = yaml.safe_load(text_of(name))
    assert config.model.name == content["model"]["name"]
    assert config.data.source == content["data"]["source"]
    assert config.trainer.max_epochs == content["trainer"]["max_epochs"]


@every
def test_its_parts_are_accepted(name, parse):
    config = parse(name)
    content = yaml.safe_load(text_of(name))
    assert Preprocessing.from_dict(config.data.preprocessing.as_dict()).size == tuple(
        content["data"]["preprocessing"]["size"]
    )
    assert Augment(**config.data.augment.as_dict()).crop == content["data"]["augment"]["crop"]
    assert Optimizer(**config.model.optimizer.as_dict()).lr == content["model"]["optimizer"]["lr"]
    assert Schedule(**config.model.schedule.as_dict()).min_lr == content["model"]["schedule"]["min_lr"]
    if "ema" in content:
        assert Averaging(**config.ema.as_dict()).decay == content["ema"]["decay"]
    if "mixing" in content["model"]:
        assert Mixing(**config.model.mixing.as_dict()).cutmix == content["model"]["mixing"]["cutmix"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        *(("classify/digits_parcnet_xxs", group) for group in GROUPS),
        ("classify/imagenet_parcnet_s", "data.sizes"),
        ("classify/imagenet_parcnetv2_xt", "model.mixing"),
    ],
)
def test_an_unknown_key_is_an_error(name, group, parser, tmp_path: Path):
    content = yaml.safe_load(text_of(name))
    inner = content
    for key in filter(None, group.split(".")):
        inner = inner.setdefault(key, {})
    inner["no_such_key"] = 3
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="no_such_key"):
        parser.parse(["--config", str(path)])


@every
def test_its_model_takes_its_images(name, parse):
    config = parse(name)
    preprocessing = Preprocessing.from_dict(config.data.preprocessing.as_dict())
    spec = ModelSpec(
        model=config.model.name, model_kwargs=config.model.kwargs, labels=LABELS, preprocessing=preprocessing
    )
    with torch.device("meta"):
        assert build_model(spec)(torch.empty(2, 3, *preprocessing.size)).shape == (2, len(LABELS))


@every
def test_its_first_line_says_what_it_is(name):
    first = text_of(name).splitlines()[0]
    assert re.fullmatch(r"# [A-Z].*\.", first)


@every
@pytest.mark.parametrize("statement", ["Result", "Hardware", "Time", "Command"])
def test_its_head_states(name, statement):
    assert re.search(r"\w", head_of(name).get(statement, "")), f"{name}: no line '# {statement}: ...' at its head"


@every
def test_its_result_and_time_are_numbers(name):
    assert re.search(r"\d", head_of(name)["Result"])
    assert re.search(r"\d", head_of(name)["Time"])


@every
def test_its_command_is_its_own_and_parses(name, parser):
    words = dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=\S*", word), shlex.split(head_of(name)["Command"]))
    program, verb, *options = words
    assert (program, verb, options[:2]) == ("parckit", "train", ["--config", name])
    parser.parse(options)


@every_imagenet
@pytest.mark.parametrize("statement", ["Source", "CPU", "Nodes"])
def test_what_we_did_not_measure_says_so_and_how_to_launch_it(name, statement):
    head = head_of(name)
    assert re.search(r"\w", head.get(statement, "")), f"{name}: no line '# {statement}: ...' at its head"
    assert "not measured by us" in head["Result"]


@every_imagenet
@pytest.mark.parametrize(("statement", "processes"), [("Command", 8), ("CPU", 1), ("Nodes", 16)])
def test_every_launch_takes_as_many_images_a_step_as_the_learning_rate_is_for(name, statement, processes, parser):
    head = head_of(name)
    line = head[statement].replace("COMMAND", head["Command"])
    config = parser.parse(shlex.split(line.partition("parckit train ")[2]))
    trainer = config.trainer
    assert int(trainer.devices) * trainer.num_nodes == processes
    batch = config.data.batch_size * processes * trainer.accumulate_grad_batches
    assert batch == config.model.optimizer.lr_batch
    if statement == "CPU":
        assert (trainer.accelerator, trainer.precision) in (("cpu", "32-true"), ("cpu", None))
    if statement == "Nodes":
        assert int(re.search(r"--nodes (\d+)", line)[1]) == trainer.num_nodes


@needs_shared
@pytest.mark.parametrize(("size", "weight_decay"), [("xs", 0.025), ("s", 0.025), ("h", 0.05)])
def test_parcnet_trains_as_the_official_code_does(size, weight_decay, parse):
    config = parse(f"classify/imagenet_parcnet_{size}")
    facts = read_train_facts()
    said = facts["opts_cls_parcnet_s"] | {"optim.weight_decay": weight_decay}  # S; H differs in this alone
    for epoch, step, lr in facts["lr_cls_parcnet_s"]["points"]:
        # The same formula in float64.
        assert lr_at(config, epoch=epoch, step=step) == pytest.approx(lr, rel=1e-12)
    optimizer, augment = config.model.optimizer, config.data.augment
    assert (optimizer.name, optimizer.weight_decay) == (said["optim.name"], said["optim.weight_decay"])
    built = Optimizer(**optimizer.as_dict()).build(torch.nn.Linear(1, 1), lr=1.0).defaults
    assert built["eps"] == said["optim.eps"]
    assert built["betas"] == (said["optim.adamw.beta1"], said["optim.adamw.beta2"])
    assert optimizer.decay_all is not said["optim.no_decay_bn_filter_bias"]
    assert 1 - config.ema.decay == pytest.approx(said["ema.momentum"], rel=1e-9)  # 1 - 0.9995 is rounded
    assert not config.ema.ramp
    assert config.keep_best == said["common.k_best_checkpoints"]
    assert config.trainer.gradient_clip_val is said["common.grad_clip"]
    assert (config.trainer.precision == "16-mixed") is said["common.mixed_precision"]
    assert config.trainer.max_epochs == said["scheduler.max_epochs"]
    assert config.data.batch_size == said["dataset.train_batch_size0"]
    sizes = MultiScale(**config.data.sizes.as_dict())
    for processes in (1, 4, 8):
        counts = [(side, sizes.images(side, batch_size=128, processes=processes)) for side in sizes.sides]
        assert counts == [(side, images) for side, _, images in facts[f"vbs_bs128_gpus{processes}"]]
    # Blocks and classifier: golden/README.md, section 9.1
    assert config.model.kwargs == {"drop_rate": 0.2, "block_drop_rate": 0.1}
    crop = augment.interpolation or config.data.preprocessing.interpolation
    assert crop == said["image_augmentation.random_resized_crop.interpolation"]
    assert [*augment.scale] == said["image_augmentation.random_resized_crop.scale"]
    assert augment.flip == said["image_augmentation.random_horizontal_flip.p"]
    assert (augment.policy, augment.erasing, config.model.mixing) == ("none", 0.0, None)


@needs_shared
def test_the_smoothed_loss_is_the_official_one_also_of_mixed_targets(parse):
    fact = read_train_facts()["label_smoothing"]
    smoothing = parse("classify/imagenet_parcnet_s").model.label_smoothing
    logits, targets = official_input(fact["tag"], fact["shape"]), torch.tensor(fact["targets"])
    classes = fact["shape"][1]
    for form in (targets, F.one_hot(targets, classes).float()):
        # Sums of 1,000 float32 terms.
        found = F.cross_entropy(logits, form, label_smoothing=smoothing).item()
        assert found == pytest.approx(fact["train"], rel=1e-6)


@pytest.mark.parametrize(("size", "drop"), [("xt", 0.1), ("tiny", 0.2), ("small", 0.3), ("base", 0.4)])
def test_parcnetv2_trains_as_the_official_scripts_do(size, drop, parse):
    # golden/README.md, section 9.3
    config = parse(f"classify/imagenet_parcnetv2_{size}")
    points = {0: 1e-6, 10: (1e-6 + 4e-3) / 2, 150: (4e-3 + 1e-5) / 2, 300: 1e-5, 309: 1e-5}
    for epoch, lr in points.items():
        # The learning rate is constant inside an epoch, whatever the step.
        for step in (epoch * 312, epoch * 312 + 311):
            assert lr_at(config, epoch=epoch, step=step) == pytest.approx(lr, rel=1e-12)
    assert config.trainer.max_epochs == 310
    assert config.model.kwargs == {"drop_path_rate": drop}
    optimizer, augment = config.model.optimizer, config.data.augment
    assert (optimizer.name, optimizer.weight_decay, optimizer.decay_all) == ("adamw", 0.05, False)
    assert (augment.policy, augment.interpolation, augment.erasing) == ("rand-m9-mstd0.5-inc1", "random", 0.25)
    assert Mixing(**config.model.mixing.as_dict()) == Mixing(mixup=0.8, cutmix=1.0, switch=0.5)
    assert (config.model.label_smoothing, config.ema) == (0.1, None)


@pytest.mark.parametrize("model", ["parc_convnext_xt", "parc_resnet50"])
def test_hybrids_train_as_convnext_does(model, parse):
    # golden/README.md, section 9.4
    config = parse(f"classify/imagenet_{model}")
    steps = TRAIN_IMAGES // 4096
    assert lr_at(config, epoch=0, step=0) == 0.0
    assert lr_at(config, epoch=20, step=20 * steps) == pytest.approx(4e-3, rel=1e-12)
    assert lr_at(config, epoch=160, step=160 * steps) == pytest.approx((4e-3 + 1e-6) / 2, rel=1e-9)
    assert lr_at(config, epoch=299, step=300 * steps) == pytest.approx(1e-6, rel=1e-9)
    assert (config.ema.decay, config.model.kwargs) == (0.9999, {"drop_path_rate": 0.1})
    assert (config.data.augment.policy, config.data.augment.interpolation) == ("rand-m9-mstd0.5-inc1", "bicubic")


def test_edgevit_is_trained_as_its_authors_do(parse):
    # golden/EDGEVIT.md, section 6; the official schedule runs one epoch behind.
    config = parse("classify/imagenet_parc_edgevit_xs")
    for epoch, lr in {0: 1e-6, 1: 4.008e-4, 4: 1.6002e-3, 5: 1.9986364e-3, 150: 1.005e-3}.items():
        assert lr_at(config, epoch=epoch, step=epoch * (TRAIN_IMAGES // 2048)) == pytest.approx(lr, rel=1e-6)
    assert config.ema.decay == 0.99996
    assert config.data.repeats == 3


@pytest.mark.parametrize("tiny", ["test_parcnet", "test_parcnetv2"])
@pytest.mark.parametrize("name", ["classify/imagenet_parcnet_s", "classify/imagenet_parcnetv2_xt"])
def test_its_optimizer_decays_the_tensors_it_says(name, tiny, parse):
    options = Optimizer(**parse(name).model.optimizer.as_dict())
    model = timm.create_model(tiny)
    groups = options.build(model, lr=options.lr).param_groups
    decayed = sum(len(group["params"]) for group in groups if group["weight_decay"] == options.weight_decay)
    matrices = sum(each.ndim > 1 for each in model.parameters())
    assert decayed == (len([*model.parameters()]) if options.decay_all else matrices)


def test_the_small_recipes_result_is_the_recorded_one():
    record = json.loads((ROOT / "benchmarks" / "records" / "finetune.json").read_text(encoding="utf-8"))
    result = head_of("classify/finetune_small")["Result"]
    assert [float(share) for share in re.findall(r"([\d.]+) %", result)] == [
        round(record["values"]["top1"][name], 2) for name in ("finetune_small", "imagenet")
    ]
