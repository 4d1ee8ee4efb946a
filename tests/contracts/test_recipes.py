"""What every shipped recipe promises."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from parckit.cli.parsing import recipes_folder
from parckit.cli.train import make_parser
from parckit.contract import InputError, ModelSpec, Preprocessing
from parckit.data import Augment
from parckit.models import build_model
from parckit.tasks import AdamWCosine

FOLDER = recipes_folder()
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
LABELS = ("ant", "bee", "cat")
GROUPS = ("", "model", "model.optimizer", "data", "data.preprocessing", "data.augment", "trainer")

every = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def parser():
    return make_parser()


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def head_of(name: str) -> dict[str, str]:
    """Return the statements of the head comment, `# Name: text`, where further lines of a text are indented."""
    head = re.match(r"(?:#[^\n]*\n)*", text_of(name))[0].replace("\n#   ", " ")
    return dict(re.findall(r"^# (\w+): (.+)$", head, re.MULTILINE))


def test_there_are_recipes_and_nothing_else():
    assert {"classify/digits_parcnet_xxs", "classify/cifar10_parcnet_xs"} <= {*NAMES}
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} == {".yaml"}


@every
def test_it_parses(name, parser):
    config = parser.parse(["--config", name])
    content = yaml.safe_load(text_of(name))
    assert config.model.name == content["model"]["name"]
    assert config.data.source == content["data"]["source"]
    assert config.trainer.max_epochs == content["trainer"]["max_epochs"]


@every
def test_its_parts_are_accepted(name, parser):
    config = parser.parse(["--config", name])
    content = yaml.safe_load(text_of(name))
    assert Preprocessing.from_dict(config.data.preprocessing.as_dict()).size == tuple(
        content["data"]["preprocessing"]["size"]
    )
    assert Augment(**config.data.augment.as_dict()).crop == content["data"]["augment"]["crop"]
    assert AdamWCosine(**config.model.optimizer.as_dict()).lr == content["model"]["optimizer"]["lr"]


@every
@pytest.mark.parametrize("group", GROUPS)
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
def test_its_model_takes_its_images(name, parser):
    config = parser.parse(["--config", name])
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
    program, verb, *options = shlex.split(head_of(name)["Command"])
    assert (program, verb, options[:2]) == ("parckit", "train", ["--config", name])
    parser.parse(options)
