"""The keywords of `parckit.train`, and how its errors name them."""

from pathlib import Path

import pytest

from parckit.contract import InputError
from parckit.tasks import TerminatedError, parse_recipe, train
from parckit.tasks.keywords import named_as_keywords

RECIPE = "classify/digits_parcnet_xxs"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 3}, "'epoch' is no key"),
        ({"epochs": 3, "trainer": {"max_epochs": 4}}, r"epochs: is short for trainer\.max_epochs, which is given too"),
        ({"trainer.max_epochs": 3}, r"'trainer\.max_epochs' is no key"),
        ({"trainer": {"logger": False}}, r"'trainer\.logger' is an unknown key"),
        ({"model": {"optimizer": {"lrr": 1}}}, r"'model\.optimizer\.lrr' is an unknown key"),
        ({"model": {"optimizer": {"lr": "fast"}}}, r"model\.optimizer\.lr: .*fast"),
        ({"model": {"optimizer": None}}, r"model\.optimizer=None: must be a mapping of keys$"),
        ({"task": {"name": "fly"}}, r"task\.name fly: choose from classify"),
        ({"data": Path("images")}, r"data='images': must be a mapping of keys, such as data=\{'source': 'images'\}"),
        ({"out": None}, "out: .*None"),
        ({"seed": -1}, "seed -1: must be >=0"),
        ({"data": {"batch_size": None}}, r"data\.batch_size: .*None"),
        ({"model": {"mixing": None}, "task": {"mixing": None}}, r"keywords: model\.mixing, task\.mixing: "),
    ],
    ids=str,
)
def test_mistakes_in_keywords_are_named_in_one_line(overrides, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        parse_recipe(RECIPE, overrides)
    assert "\n" not in str(caught.value)


COMPLETE = "model: {name: x}\ndata: {source: digits, preprocessing: {size: [32, 32]}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{COMPLETE}trainer: {{max_epochs: x}}", r"trainer\.max_epochs: "),
        (f"{COMPLETE}trainer: 3", "trainer 3: must be a group of keys"),
        (f"{COMPLETE}trainner: {{}}", "'trainner' is no key of a recipe"),
        (f"{COMPLETE}task: {{name: fly}}", r"task\.name fly: choose from"),
        ("model: {name: x}", r"the following arguments are required: data\.source"),
    ],
)
def test_mistakes_in_a_file_are_told_with_its_path(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        parse_recipe(path, {"seed": 3})


def test_an_unknown_recipe_is_named_as_the_argument():
    with pytest.raises(InputError, match=r"^recipe nope: no such file or recipe; "):
        parse_recipe("nope", {})


def test_paths_may_be_objects():
    overrides = {
        "out": Path("runs/mine"),
        "resume": Path("runs/mine/last.ckpt"),
        "data": {"source": Path("images")},
        "task": {"distillation": {"teacher": Path("teacher.ckpt")}},
    }
    _, config = parse_recipe(RECIPE, overrides)
    strings = (config.out, config.resume, config.data.source, config.task.distillation.teacher)
    assert strings == ("runs/mine", "runs/mine/last.ckpt", "images", "teacher.ckpt")


def test_errors_of_a_training_name_keywords(tmp_path):
    (tmp_path / "last.ckpt").touch()
    message = f"out {tmp_path}: holds a training; go on with resume {tmp_path}/last.ckpt, or give overwrite=True"
    with pytest.raises(InputError) as caught:
        train(RECIPE, out=tmp_path)
    assert str(caught.value) == message


def test_commands_in_an_error_stay_commands():
    with pytest.raises(TerminatedError) as caught, named_as_keywords():
        raise TerminatedError("asked; --resume auto goes on; `timeout --signal=TERM parckit train`; a--b", signum=15)
    assert str(caught.value) == 'asked; resume="auto" goes on; `timeout --signal=TERM parckit train`; a--b'
    assert caught.value.exit_code == 143


def test_keywords_may_be_short():
    short = {"epochs": 3, "batch_size": 16, "lr": 0.5, "teacher": "large.ckpt"}
    _, config = parse_recipe(RECIPE, {**short, "data": {"workers": 1}, "model": {"optimizer": {"weight_decay": 0.25}}})
    assert (config.trainer.max_epochs, config.data.batch_size, config.data.workers) == (3, 16, 1)
    assert (config.model.optimizer.lr, config.model.optimizer.weight_decay) == (0.5, 0.25)
    assert config.task.distillation.teacher == "large.ckpt"
