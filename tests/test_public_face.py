"""docs/python.md documents every public name with an example, and its examples run in their order."""

import re

import pytest

import parckit
from processes import measure_no_memory
from repository import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

SMALLER = {
    "trainer={": 'model={"kwargs": {"depths": [1, 1, 1]}}, trainer={"limit_val_batches": 1, ',
    '"limit_train_batches": 4': '"limit_train_batches": 1',
    "samples=64": "samples=8, seconds=0.05",
    "warmup=0.1, seconds=0.3": "warmup=0, seconds=0.05",
    "parcnet_xs": "test_parcnet",
}
"""What the page shows -> what the test runs, which takes less time."""


@pytest.mark.parametrize("name", [name for name in parckit.__all__ if name != "__version__"])
def test_every_public_name_has_an_example(name):
    assert any(f"parckit.{name}(" in block for block in BLOCKS)


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    measure_no_memory(monkeypatch)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        small = block
        for shown, run in SMALLER.items():
            small = small.replace(shown, run)
        exec(compile(small, "docs/python.md", "exec"), names)  # noqa: S102  # our own documentation
        assert capsys.readouterr().out.strip()
