"""Which packages a module of parckit needs, read from the import statements without running them."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions

from packaging.utils import canonicalize_name

from repository import ROOT

SOURCE = ROOT / "src"
OF_ENGINES = {"cv2": "opencv-python-headless", "cuda": "cuda-bindings"}
"""Modules that engines need -> their distributions. Tests do not install them; of `cuda`, torch may bring a part."""


def distributions_needed(module: str) -> dict[str, str]:
    """Return the distributions that a module and all modules of parckit behind it import.

    Imports inside functions count, too: they run later, but they run. Imports for type checkers do not count.

    Args:
        module: name of a module of parckit.

    Returns:
        Name of the distribution -> the first module of parckit that imports it.
    """
    needed: dict[str, str] = {}
    waiting, seen = [module], set[str]()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for name in imported(current):
            if name.partition(".")[0] == "parckit":
                waiting.append(name)
            else:
                needed.setdefault(distribution_of(name), current)
    return needed


@cache
def imported(module: str) -> frozenset[str]:
    """Return the names of all modules that a module of parckit imports, without those of the standard library."""
    folder = SOURCE.joinpath(*module.split("."))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    names = set(_imports(ast.parse(file.read_text(encoding="utf-8"))))
    # Python imports the packages around a module first.
    names |= {module.rpartition(".")[0]} - {""}
    return frozenset(name for name in names if name.partition(".")[0] not in sys.stdlib_module_names)


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.module is not None, "parckit has no relative imports"
        yield node.module
        yield from filter(_is_module, (f"{node.module}.{alias.name}" for alias in node.names))
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def distribution_of(module: str) -> str:
    """Return the name of the distribution that has a module, as `sklearn` -> `scikit-learn`.

    The name of a distribution that is not installed is like the module's, unless `OF_ENGINES` has another one.
    """
    top = module.partition(".")[0]
    if top in OF_ENGINES:
        return OF_ENGINES[top]
    (name,) = {canonicalize_name(name) for name in _distributions().get(top, [top])}
    return name


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
