"""The scripts in `benchmarks/`: each can be started and says what it does."""

import importlib.util
import sys

import pytest

from repository import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def test_the_scripts_were_found():
    assert len(SCRIPTS) >= 8


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_it_explains_itself(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)  # dataclasses look their module up
    spec.loader.exec_module(script)
    with pytest.raises(SystemExit) as ending:
        script.main()
    assert ending.value.code == 0
    assert script.__doc__.splitlines()[0] in " ".join(capsys.readouterr().out.split())
