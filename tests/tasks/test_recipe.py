"""Recipes read from Python and from the command line: the same configuration, the same mistakes."""

import logging

import pytest

from parckit.contract import InputError
from parckit.tasks import parse_command, parse_recipe

RECIPE = "classify/digits_parcnet_xxs"


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ({}, ()),
        ({"out": "runs/mine", "seed": 7, "resume": "auto"}, ("--out=runs/mine", "--seed=7", "--resume=auto")),
        ({"trainer": {"max_epochs": 3}}, ("--trainer.max_epochs=3",)),
        ({"model": {"optimizer": {"lr": 0.1}}}, ("--model.optimizer.lr=0.1",)),
        (
            {"epochs": 3, "batch_size": 16, "lr": 0.1, "teacher": "large.ckpt"},
            ("--epochs=3", "--batch-size=16", "--lr", "0.1", "--teacher=large.ckpt"),
        ),
        ({"ema": {"decay": 0.5}}, ("--ema.decay=0.5",)),
        ({"ema": None}, ("--ema=null",)),
        ({"task": {"mixing": {"mixup": 0.3}}}, ("--task.mixing.mixup=0.3",)),
        # Keywords of another network take the place of the recipe's.
        (
            {"model": {"name": "test_parcnetv2", "kwargs": {"img_size": 32}}},
            ("--model.name=test_parcnetv2", "--model.kwargs={img_size: 32}"),
        ),
    ],
    ids=str,
)
def test_overrides_merge_as_options_do(overrides, options):
    _, from_python = parse_recipe(RECIPE, overrides)
    _, from_command = parse_command([f"--config={RECIPE}", *options])
    assert from_python.as_dict() | {"config": None} == from_command.as_dict() | {"config": None}


@pytest.mark.parametrize("options", [("--task", "segment"), ("--task=segment",), ("--task.name=segment",)])
def test_the_task_has_a_short_name(options):
    needed = ("--model.name=test_parcnet", "--data=digit_scenes", "--data.preprocessing.size=[32, 32]")
    _, config = parse_command([*options, *needed, "--task.class_weights=sqrt"])
    assert (config.task.name, config.task.class_weights) == ("segment", "sqrt")
    with pytest.raises(InputError, match=r"--task\.name seg: choose from classify"):
        parse_command(["--task=seg"])


def test_sizes_of_another_kind_take_the_place_of_the_recipes():
    _, config = parse_recipe("classify/imagenet_parcnet_s", {"data": {"sizes": {"start": 0.5, "until": 0.5}}})
    assert (config.data.sizes.start, "sides" in config.data.sizes) == (0.5, False)


def test_overrides_complete_a_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: {name: test_parcnet}")
    _, config = parse_recipe(path, {"data": {"source": "digits", "preprocessing": {"size": [32, 32]}}})
    assert (config.model.name, config.data.source) == ("test_parcnet", "digits")


@pytest.mark.parametrize("text", ["trainer: 3", "trainer: x", "trainer: null", "model: {name: x, optimizer: null}"])
def test_what_is_no_group_in_a_recipe_is_refused(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"(trainer|model\.optimizer) (3|x|None): must be a group of keys"):
        parse_command([f"--config={RECIPE}", f"--config={path}"])


@pytest.mark.parametrize(
    "text", ["out: null", "seed: null", "overwrite: null", "overwrite: 3", "data: {workers: null}"]
)
def test_a_value_that_does_not_fit_in_a_recipe_is_refused(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^--(out|seed|overwrite|data.workers): "):
        parse_command([f"--config={RECIPE}", f"--config={path}"])


FORMER = """
model: {name: test_parcnet, label_smoothing: 0.3, mixing: {mixup: 0.2}}
data: {source: digits, preprocessing: {size: [32, 32]}}
"""


def test_keys_are_read_under_their_former_names_with_one_warning(tmp_path, caplog):
    path = tmp_path / "former.yaml"
    path.write_text(FORMER)
    told = f"{path}: model.label_smoothing is now task.label_smoothing; model.mixing is now task.mixing"
    for parse in (lambda: parse_recipe(path, {}), lambda: parse_command([f"--config={path}"])):
        caplog.clear()
        _, config = parse()
        assert (config.task.label_smoothing, config.task.mixing.mixup) == (0.3, 0.2)
        assert caplog.messages == [told]


def test_overrides_are_read_under_their_former_names_with_one_warning(caplog):
    _, config = parse_recipe(RECIPE, {"model": {"distillation": {"teacher": "run/best.ckpt"}, "label_smoothing": 0}})
    assert (config.task.distillation.teacher, config.task.label_smoothing) == ("run/best.ckpt", 0)
    (told,) = caplog.messages
    assert told.startswith("keywords: model.label_smoothing is now task.label_smoothing;")


@pytest.mark.parametrize("option", [("--model.label_smoothing=0.3",), ("--model.label-smoothing", "0.3")])
def test_an_option_is_read_under_its_former_name_with_one_warning(option, caplog):
    with caplog.at_level(logging.WARNING):
        _, config = parse_command([f"--config={RECIPE}", *option])
    assert config.task.label_smoothing == 0.3
    assert caplog.messages == ["--model.label_smoothing is now called --task.label_smoothing"]


@pytest.mark.parametrize("option", [("--model", '{"mixing": null}'), ('--model={"mixing": null, "head": null}',)])
def test_a_group_on_the_command_line_is_read_under_its_former_names(option, caplog):
    _, config = parse_command([f"--config={RECIPE}", *option])
    assert config.task.mixing is None
    assert caplog.messages == ["--model.mixing is now called --task.mixing"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("null", "task None: must be a group of keys"),
        ("classify", "task classify: must be a group of keys"),
        ("[1]", r"task \[1\]: must be a group of keys"),
        ("{mixing: {mixup: 0.3}}", r"model\.mixing, task\.mixing: .* use only the new name"),
        ("{mixing: null}", r"model\.mixing, task\.mixing: .* use only the new name"),
    ],
)
def test_a_recipe_whose_former_keys_have_no_place_is_refused(task, message, tmp_path):
    path = tmp_path / "former.yaml"
    path.write_text(f"{FORMER}task: {task}\n")
    for parse in (lambda: parse_recipe(path, {}), lambda: parse_command([f"--config={path}"])):
        with pytest.raises(InputError, match=f"{path}: {message}") as caught:
            parse()
        assert "\n" not in str(caught.value)


def test_overrides_with_both_names_of_a_key_are_refused():
    with pytest.raises(InputError, match=r"model\.label_smoothing, task\.label_smoothing: "):
        parse_recipe(RECIPE, {"model": {"label_smoothing": 0}, "task": {"label_smoothing": 0.1}})


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    _, from_command = parse_command([f"--config={RECIPE}", "--out=~/a"])
    _, from_python = parse_recipe(RECIPE, {"out": "~/a"})
    assert (from_command.out, from_python.out) == ("/somewhere/a", "/somewhere/a")
