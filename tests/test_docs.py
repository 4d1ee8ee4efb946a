"""The documentation: its tables hold what the code counts, and its Python runs."""

import re

import pytest
import timm
import torch

import parckit.models  # noqa: F401  # registers the models
from parckit.measure import cost
from repository import ROOT

DOCS = ROOT / "docs"
ROW = re.compile(r"^\| `(\w+)`(?: \(timm\))? \| (\d+) \| ([\d,]+) \| [^|]+ \| ([\d,]+) \|", re.MULTILINE)
COUNTS = ROW.findall((DOCS / "models.md").read_text(encoding="utf-8"))
PYTHON = [
    pytest.param(block, id=f"{path.stem}-{i}")
    for path in sorted(DOCS.glob("*.md"))
    for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.M))
]


def test_the_table_of_models_was_found():
    assert len(COUNTS) >= 19


@pytest.mark.parametrize(("name", "size", "params", "madds"), COUNTS, ids=[row[0] for row in COUNTS])
def test_parameters_and_multiply_adds_are_the_counted_ones(name, size, params, madds):
    with torch.device("meta"):
        model = timm.create_model(name)
    found = cost.count(model, size=(int(size), int(size)))
    assert (f"{found.params:,}", f"{found.madds:,}") == (params, madds)


@pytest.mark.parametrize("block", PYTHON)
def test_its_python_runs(block):
    exec(compile(block, "docs", "exec"), {})  # noqa: S102  # our own documentation
