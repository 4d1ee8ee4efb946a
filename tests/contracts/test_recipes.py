"""What every shipped recipe promises."""

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import yaml
from jsonargparse import Namespace

from golden_fixtures import needs_shared, official_input, read_train_facts
from parckit.contract import InputError, NetworkSpec, Preprocessing, begin_with_batch, from_plain
from parckit.data import AugmentSettings, MaskAugmentSettings, MultiScale, SceneAugmentSettings
from parckit.networks import build_network
from parckit.networks import head_of as network_head
from parckit.options import Parser
from parckit.tasks import (
    TASKS,
    AveragingSettings,
    Classify,
    MixingSettings,
    OptimizerSettings,
    RunLength,
    ScheduleSettings,
    find_recipe,
    recipe_parser,
    recipes_folder,
)
from parckit.tasks.former import translate_recipe
from published_recipes import PUBLISHED
from repository import ROOT

FOLDER = recipes_folder()
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
LABELS = ("ant", "bee", "cat")
GROUPS = (
    "",
    "model.optimizer",
    "task.augment",
    "trainer",
    "ema",
)
IMAGENET = [name for name in NAMES if name.startswith("classify/imagenet_")]
# Images of an ImageNet-1k epoch; with the recipes' batches, the length of the runs that schedules are asked about.
TRAIN_IMAGES = 1_281_167

# Variants that differ from a smaller one by numbers alone, and networks that tests/networks build and run.
LARGER = [
    *(
        f"classify/imagenet_{model}"
        for model in ("parcnet_s", "parcnet_h", "parcnetv2_tiny", "parcnetv2_small", "parcnetv2_base")
    ),
    "detect/coco_ssd_parcnet_s",
    "segment/voc_deeplabv3_parcnet_s",
]

every = pytest.mark.parametrize("name", NAMES)
every_imagenet = pytest.mark.parametrize("name", IMAGENET)


@pytest.fixture(scope="module")
def parser():
    return recipe_parser()


@pytest.fixture(scope="module")
def parse():
    """Return a function that parses the command of a recipe, every one of them once."""
    return functools.cache(lambda name: parser_of(name).parse(options_of(name)))


def options_of(name: str) -> list[str]:
    """Return the options of the command at a recipe's head."""
    words = dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=\S*", word), shlex.split(head_of(name)["Command"]))
    program, verb, *options = words
    assert (program, verb, options[:2]) == ("parckit", "train", ["--config", name])
    return options


def parser_of(name: str) -> Parser:
    """Return the parser of a recipe's task, which is the name of its folder."""
    return recipe_parser(name.partition("/")[0])


@pytest.fixture
def parse_content(parser, tmp_path: Path):
    """Return a function that parses the content of a recipe that is not shipped."""

    def parse(content: Mapping[str, object]) -> Namespace:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return parser.parse(["--config", str(path)])

    return parse


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def head_of(name: str) -> dict[str, str]:
    """Return the statements of the head comment, `# Name: text`, where further lines of a text are indented."""
    head = re.match(r"(?:#[^\n]*\n)*", text_of(name))[0].replace("\n#   ", " ")
    return dict(re.findall(r"^# (\w+): (.+)$", head, re.MULTILINE))


def model_of(name: str) -> str:
    return name.removeprefix("classify/imagenet_")


def preprocessing_of(config: Namespace) -> Preprocessing:
    return from_plain(Preprocessing, config.data.preprocessing.as_dict(), name="data.preprocessing")


def names_in(nested: Mapping[str, object]) -> Iterator[str]:
    """Yield what a file sets, by names with dots."""
    for key, value in nested.items():
        yield from (f"{key}.{inner}" for inner in names_in(value)) if isinstance(value, dict) else (key,)


def lr_at(config, *, epoch: int, step: int) -> float:
    """Return the learning rate of a recipe with the batch that it was written for."""
    optimizer, schedule = (
        OptimizerSettings(**config.model.optimizer.as_dict()),
        ScheduleSettings(**config.model.schedule.as_dict()),
    )
    epochs = config.trainer.max_epochs
    run = RunLength(steps=epochs * (TRAIN_IMAGES // optimizer.lr_batch), epochs=epochs)
    return schedule.lr_at(step, epoch=epoch, peak=optimizer.lr, run=run)


def test_there_are_recipes_and_nothing_else():
    assert {"classify/digits_parcnet_xxs", "classify/cifar10_parcnet_xs", "classify/finetune_small"} <= {*NAMES}
    assert {name.partition("/")[0] for name in NAMES} == {*TASKS}
    assert len(IMAGENET) == 11
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} == {".yaml"}


def test_a_recipe_is_found_by_name_and_by_path():
    path = FOLDER / "classify" / "digits_parcnet_xxs.yaml"
    assert find_recipe("classify/digits_parcnet_xxs") == find_recipe(str(path)) == path


def test_a_missing_recipe_is_named_with_the_shipped_ones():
    with pytest.raises(InputError, match=r"--config classify/mine: .*classify/digits_parcnet_xxs"):
        find_recipe("classify/mine")


@pytest.mark.parametrize("option", ["--teacher", "--task.distillation.teacher", "--model.distillation.teacher"])
def test_a_teacher_can_be_named_in_short_and_under_its_former_name(option, parser):
    config = parser.parse(["--config=classify/digits_parcnet_xxs", option, "run/best-3.ckpt"])
    assert config.task.distillation.teacher == "run/best-3.ckpt"


@every
def test_its_command_parses(name, parse):
    config = parse(name)
    content = yaml.safe_load(text_of(name))
    assert config.task.name == content["task"]["name"] == name.partition("/")[0]
    assert config.model.name == content["model"]["name"]
    assert config.data.source == content["data"]["source"]
    assert config.trainer.max_epochs == content["trainer"]["max_epochs"]


@every
def test_its_keys_have_todays_names(name, caplog):
    """Former names are read too, with a warning that a shipped recipe must not give."""
    content = yaml.safe_load(text_of(name))
    assert translate_recipe(content, name=name) == content
    assert caplog.text == ""


@every
def test_its_parts_are_accepted(name, parse):
    config = parse(name)
    content = yaml.safe_load(text_of(name))
    assert preprocessing_of(config).size == tuple(content["data"]["preprocessing"]["size"])
    kind = {"detect": SceneAugmentSettings, "segment": MaskAugmentSettings}.get(config.task.name, AugmentSettings)
    assert kind(**config.task.augment.as_dict()).flip == content["task"]["augment"]["flip"]
    assert OptimizerSettings(**config.model.optimizer.as_dict()).lr == content["model"]["optimizer"]["lr"]
    assert ScheduleSettings(**config.model.schedule.as_dict()).min_lr == content["model"]["schedule"]["min_lr"]
    if "ema" in content:
        assert AveragingSettings(**config.ema.as_dict()).decay == content["ema"]["decay"]
    if "mixing" in content["task"]:
        assert MixingSettings(**config.task.mixing.as_dict()).cutmix == content["task"]["mixing"]["cutmix"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        *(("classify/digits_parcnet_xxs", group) for group in GROUPS),
        ("classify/imagenet_parcnet_s", "data.sizes"),
        ("classify/imagenet_parcnetv2_xt", "task.mixing"),
    ],
)
def test_an_unknown_key_is_an_error(name, group, parse_content):
    content = yaml.safe_load(text_of(name))
    inner = content
    for key in filter(None, group.split(".")):
        inner = inner.setdefault(key, {})
    inner["no_such_key"] = 3
    with pytest.raises(InputError, match="no_such_key"):
        parse_content(content)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGER])
@torch.no_grad()
def test_its_model_takes_its_images(name, parse):
    config = parse(name)
    kwargs, preprocessing = config.model.kwargs or {}, preprocessing_of(config)
    spec = NetworkSpec(
        task=config.task.name,
        backbone=config.model.name,
        backbone_kwargs=kwargs,
        head=config.model.head or TASKS[config.task.name].head,
        head_kwargs=config.model.head_kwargs or {},
        labels=LABELS,
        preprocessing=preprocessing,
    )
    with torch.device("meta"):
        network = build_network(spec)
    if name in IMAGENET:
        return  # tests/models run these networks on images of this size
    device, described = "meta", network_head(spec).outputs(spec)
    # Numbers of small images take less time than shapes alone. Detections are made of one image at a time.
    if max(preprocessing.size) <= 160 and begin_with_batch(described):
        network, device = network.eval().to_empty(device="cpu"), "cpu"
    outputs = network(torch.zeros(2, 3, *preprocessing.size, device=device))
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    assert [output.ndim for output in outputs] == [len(output.shape) for output in described]
    # The number of detections does not depend on the number of images.
    assert all(len(output) == 2 for output, said in zip(outputs, described, strict=True) if said.layout[0] == "N")


@every
@pytest.mark.parametrize("statement", ["Result", "Hardware", "Time", "Command"])
def test_its_head_states(name, statement):
    assert re.search(r"\w", head_of(name).get(statement, "")), f"{name}: no line '# {statement}: ...' at its head"


@every
def test_its_result_and_time_are_numbers(name):
    assert re.search(r"\d", head_of(name)["Result"])
    assert re.search(r"\d", head_of(name)["Time"])


@every_imagenet
@pytest.mark.parametrize("statement", ["Source", "CPU", "Nodes"])
def test_its_head_states_the_source_and_how_to_launch_it(name, statement):
    assert re.search(r"\w", head_of(name).get(statement, "")), f"{name}: no line '# {statement}: ...' at its head"


@every_imagenet
@pytest.mark.parametrize(("statement", "processes"), [("Command", 8), ("CPU", 1), ("Nodes", 16)])
def test_every_launch_takes_as_many_images_a_step_as_the_learning_rate_is_for(
    name, statement, processes, parser, parse
):
    head = head_of(name)
    line = head[statement].replace("COMMAND", head["Command"])
    options = shlex.split(line.partition("parckit train ")[2])
    config = parse(name) if statement == "Command" else parser.parse(options)
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
    optimizer, augment = config.model.optimizer, config.task.augment
    assert (optimizer.name, optimizer.weight_decay) == (said["optim.name"], said["optim.weight_decay"])
    built = OptimizerSettings(**optimizer.as_dict()).build(torch.nn.Linear(1, 1), lr=1.0).defaults
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
    crop = augment.interpolation or config.data.preprocessing.interpolation
    assert crop == said["image_augmentation.random_resized_crop.interpolation"]
    assert [*augment.scale] == said["image_augmentation.random_resized_crop.scale"]
    assert augment.flip == said["image_augmentation.random_horizontal_flip.p"]


@needs_shared
def test_the_losses_are_the_official_ones_also_of_mixed_targets(parse):
    fact = read_train_facts()["label_smoothing"]
    logits, targets = official_input(fact["tag"], fact["shape"]), torch.tensor(fact["targets"])
    task = Classify(label_smoothing=parse("classify/imagenet_parcnet_s").task.label_smoothing)
    for form in (targets, F.one_hot(targets, fact["shape"][1]).float()):
        # Sums of 1,000 float32 terms, here and below.
        assert task.loss(torch.nn.Identity(), logits, form).item() == pytest.approx(fact["train"], rel=1e-6)
    assert task.validation_losses([logits], targets).mean().item() == pytest.approx(fact["eval"], rel=1e-6)


@every_imagenet
def test_its_settings_are_the_published_ones(name, parse):
    config, model = parse(name), model_of(name)
    settings = PUBLISHED[model].settings | {"model.name": model}
    assert {key: config[key] for key in settings} == settings


@every_imagenet
def test_its_learning_rates_are_the_published_ones(name, parse):
    config, rates = parse(name), PUBLISHED[model_of(name)].rates
    steps = TRAIN_IMAGES // config.model.optimizer.lr_batch
    actual = {time: lr_at(config, epoch=int(time), step=round(time * steps)) for time in rates}
    assert actual == pytest.approx(rates, rel=1e-7)  # some are published with eight digits


@every_imagenet
def test_it_says_nothing_that_is_not_published(name):
    held = {*PUBLISHED[model_of(name)].settings, "model.name", "model.schedule", "data.workers", "task.name"}
    said = names_in(yaml.safe_load(text_of(name)))
    assert [key for key in said if not any(f"{key}.".startswith(f"{published}.") for published in held)] == []


@pytest.mark.parametrize("tiny", ["test_parcnet", "test_parcnetv2"])
@pytest.mark.parametrize("name", ["classify/imagenet_parcnet_s", "classify/imagenet_parcnetv2_xt"])
def test_its_optimizer_decays_the_tensors_it_says(name, tiny, parse):
    options = OptimizerSettings(**parse(name).model.optimizer.as_dict())
    model = timm.create_model(tiny)
    groups = options.build(model, lr=options.lr).param_groups
    decayed = sum(len(group["params"]) for group in groups if group["weight_decay"] == options.weight_decay)
    matrices = sum(parameter.ndim > 1 for parameter in model.parameters())
    assert decayed == (len([*model.parameters()]) if options.decay_all else matrices)


def record_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "records" / f"{name}.json").read_text(encoding="utf-8"))["values"]


def test_the_small_recipes_result_is_the_recorded_one():
    result = head_of("classify/finetune_small")["Result"]
    assert [float(share) for share in re.findall(r"([\d.]+) %", result)] == [
        round(record_of("finetune")["top1"][name], 2) for name in ("finetune_small", "imagenet")
    ]


def test_the_multilabel_recipes_result_and_time_are_the_recorded_ones():
    head, recorded = head_of("multilabel/finetune_small"), record_of("multilabel")
    torch_says, engine_says = recorded["test_torch_threshold_one_half"], recorded["test_onnxruntime_best_thresholds"]
    figures = [torch_says["map"], torch_says["f1_macro"], engine_says["f1_macro"]]
    assert [float(share) for share in re.findall(r"([\d.]+) %", head["Result"])] == figures
    assert head["Time"].startswith(f"{recorded['train_seconds'] / 60:.0f} minutes")


def test_the_cifar10_recipes_result_and_time_are_the_recorded_ones():
    head, recorded = head_of("classify/cifar10_parcnet_xs"), record_of("cifar10_parcnet_xs")
    assert f"{recorded['test_torch']['top1']:.2f} %" in head["Result"]
    assert recorded["test_torch"]["top1"] == recorded["test_onnxruntime"]["top1"]
    assert head["Time"] == f"{recorded['train_seconds'] / 60:.0f} minutes."
