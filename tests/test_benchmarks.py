"""The scripts in `benchmarks/`: each can be started and says what it does."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from parckit.tasks import recipe_parser
from repository import ROOT

MODULES = {"exported.py", "http_load.py", "serving_pictures.py", "trainings.py"}  # what the scripts import
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.name not in MODULES)


@pytest.fixture
def load(monkeypatch):
    def run(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
        script = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, script)  # dataclasses look their module up
        spec.loader.exec_module(script)
        return script

    return run


def test_the_scripts_were_found():
    assert len(SCRIPTS) >= 8


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_it_explains_itself(path, load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    script = load(path)
    with pytest.raises(SystemExit) as ending:
        script.main()
    assert ending.value.code == 0
    assert script.__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.split())


def test_every_ingredient_changes_the_recipe(load):
    script, parser = load(ROOT / "benchmarks" / "ingredients.py"), recipe_parser()
    recipe, *changed = (parser.parse(["--config", script.RECIPE, *options]) for options in script.CHANGES.values())
    assert all(config != recipe for config in changed)
    assert recipe == parser.parse(["--config", script.RECIPE])


def test_the_table_of_layers_is_that_of_its_record(load, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = load(ROOT / "benchmarks" / "layers.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    assert script.table(values) in (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")


def test_the_tables_of_the_server_are_those_of_its_record(load):
    script = load(ROOT / "benchmarks" / "serving.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    assert script.tables(values) in (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    assert values["stop"]["lost"] == 0


def test_the_table_of_engines_is_that_of_its_record(load):
    script = load(ROOT / "benchmarks" / "engines.py")
    record = json.loads(script.RECORD.read_text(encoding="utf-8"))
    assert script.table(record["values"]) in (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    # It has every engine for each of its networks.
    tried = [(result["network"], result["engine"]) for result in record["values"]["results"]]
    assert tried == [(network, engine) for network in dict.fromkeys(dict(tried)) for engine in script.ENGINES]
    assert dict(tried).keys() <= script.NETWORKS.keys()


def test_the_tables_of_the_speed_of_int8_are_those_of_their_record(load):
    script = load(ROOT / "benchmarks" / "int8_speed.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    page = (ROOT / "docs" / "int8.md").read_text(encoding="utf-8")
    for table in (script.table, script.table_of_the_fastest, script.table_of_operators):
        assert table(values) in page


def test_the_tables_of_int8_in_other_engines_are_those_of_their_record(load):
    script = load(ROOT / "benchmarks" / "int8_mobile_speed.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    text = (ROOT / "docs" / "int8.md").read_text(encoding="utf-8")
    assert script.speed_table(values) in text
    # It has every engine for each of its networks.
    assert values.keys() >= script.NETWORKS.keys()
    assert all(rows.keys() == script.FORMATS.keys() for rows in values.values())


def test_the_tables_of_the_accuracy_of_int8_are_those_of_their_records(load):
    script = load(ROOT / "benchmarks" / "int8_accuracy.py")
    page = (ROOT / "docs" / "int8.md").read_text(encoding="utf-8")
    for task in ("cifar10", "imagenet"):
        record = json.loads((script.RECORDS / f"int8_accuracy_{task}.json").read_text(encoding="utf-8"))
        assert script.table(record["values"]) in page


def test_the_table_of_int8_for_boxes_and_masks_is_that_of_its_record(load):
    script = load(ROOT / "benchmarks" / "int8_tasks.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    assert script.table(values) in (ROOT / "docs" / "int8.md").read_text(encoding="utf-8")
    assert values["networks"].keys() == script.NETWORKS.keys()
    variants = {"float32", *script.PLAIN, *script.VARIANTS}
    assert all(results.keys() == variants for results in values["networks"].values())


def test_the_table_of_what_mends_int8_is_that_of_its_record(load):
    script = load(ROOT / "benchmarks" / "int8_collapse.py")
    values = json.loads(script.RECORD.read_text(encoding="utf-8"))["values"]
    assert script.table(values) in (ROOT / "docs" / "int8.md").read_text(encoding="utf-8")
