"""What every engine promises: a way in, a way to open what came in, and an extra that installs it."""

import re
from importlib import import_module

import pytest

from parckit.deploy.convert import CONVERTERS, load_converter
from parckit.runtimes import CHECKPOINT, ENGINES, find_engine
from repository import ROOT

every_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


def test_every_engine_has_a_converter_but_torch_which_opens_checkpoints():
    assert {engine.name for engine in ENGINES if engine.formats != (CHECKPOINT,)} == CONVERTERS.keys()
    assert find_engine("torch").formats == (CHECKPOINT,)
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)


@every_engine
def test_its_module_opens_artefacts_and_files(engine):
    module = import_module(engine.module)
    assert callable(module.open_artefact)
    assert callable(module.open_file)


@pytest.mark.parametrize("name", CONVERTERS)
def test_its_converter_converts_and_says_what_it_refuses(name):
    converter = load_converter(name)
    assert callable(converter.convert)
    assert callable(converter.refuses)


@every_engine
def test_its_extra_is_one_of_the_packages(engine):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (requirements,) = re.findall(rf"^{engine.extra} = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    assert f'"{engine.package}>=' in requirements
