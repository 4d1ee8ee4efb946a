"""`parckit list`: the models of this package."""

import timm

from parckit.cli.info import shadow
from parckit.cli.parsing import verb_parser
from parckit.cli.tables import count, show
from parckit.contract import InputError
from parckit.measure import cost
from parckit.models import preprocessing_of


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("list", description="Models with parameters and multiply-adds at their own size.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="e.g. 'parcnet_*'")
    pattern = parser.read(argv).pattern
    found = names(pattern)
    if not found:
        raise InputError(f"{pattern!r}: matches none of {', '.join(names())}")
    show("parckit models", ("model", "size", "parameters", "MAdds"), [_row(name) for name in found])


def names(pattern: str = "*") -> list[str]:
    """Return the registered names of our models that match a pattern."""
    ours = (name for name in timm.list_models(pattern) if timm.model_entrypoint(name).__module__.startswith("parckit."))
    return sorted(ours)


def _row(name: str) -> tuple[str, ...]:
    model = shadow(name)
    size = preprocessing_of(model).size
    paper = cost.count(model, size=size)
    return name, f"{size[0]}x{size[1]}", count(paper.params), count(paper.madds)
