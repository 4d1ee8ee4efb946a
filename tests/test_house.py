"""House rules that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import ROOT, files

PYTHON = [file for file in files() if file.suffix == ".py"]
SOURCES = [file for file in PYTHON if file.parts[0] == "src"]
DOCUMENTS = {"README.md": 200, "ARCHITECTURE.md": 80, "CONTRIBUTING.md": 50}
FILE_LINES = 400
FUNCTION_LINES = 60
EMPTY_NAMES = {"utils", "common", "misc", "helpers"}
IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".webp"}
WEIGHTS = {".ckpt", ".onnx", ".pt", ".pth", ".safetensors"}
SHIPPED = Path("src/parckit/weights")
# What parckit 0.1.0 wrote, so that tests/test_former.py can read it: small, and no version of today can make it again.
FORMER = Path("tests/former")
ARCHIVES = {".gz", ".tar", ".whl", ".zip"}
BLOOD = "docs/bccd.jpg"
"""The one picture: BCCD's licence (MIT) allows to show it."""
MEBIBYTE = 1 << 20
UNNAMED = "def _"
VAGUE_NAMES = {"each", "own", "found", "given", "chosen", UNNAMED}
HOME = re.compile(r"/(?:hom[e]|roo[t]|User[s])/\w")


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def new_names(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of every local, argument, loop variable, import and function of a file."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, UNNAMED if name == "_" else name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case _:
                pass


def line_count(file: Path | str) -> int:
    return len((ROOT / file).read_text(encoding="utf-8").splitlines())


def test_python_files_are_short():
    assert [f"{file}: {line_count(file)} lines" for file in PYTHON if line_count(file) > FILE_LINES] == []


def test_functions_are_short():
    long = [
        f"{file}:{function.lineno} {function.name}: {lines} lines"
        for file in SOURCES
        for function in functions(file)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize(("document", "limit"), DOCUMENTS.items())
def test_documents_stay_under_their_limit(document: str, limit: int):
    assert line_count(document) < limit


def test_file_names_say_something():
    assert [str(file) for file in PYTHON if file.stem in EMPTY_NAMES] == []


def test_names_say_what_they_hold():
    vague = [f"{file}:{line} {name}" for file in PYTHON for line, name in new_names(file) if name in VAGUE_NAMES]
    assert vague == []


def test_constructors_swallow_no_keywords():
    swallowing = [
        f"{file}:{function.lineno}"
        for file in SOURCES
        for function in functions(file)
        if function.name == "__init__" and function.args.kwarg
    ]
    assert swallowing == []


def test_git_holds_no_binaries_and_nothing_large():
    others = [file for file in files() if file.parent != SHIPPED]
    new = [file for file in others if not file.is_relative_to(FORMER)]
    assert [str(file) for file in new if file.suffix in IMAGES | WEIGHTS | ARCHIVES] == [BLOOD]
    assert [str(file) for file in others if (ROOT / file).stat().st_size > MEBIBYTE] == []


def test_shipped_weights_are_a_few_megabytes_of_safetensors():
    shipped = [file for file in files() if file.parent == SHIPPED]
    assert {file.suffix for file in shipped} == {".safetensors"}
    assert [file for file in shipped if (ROOT / file).stat().st_size > 4_000_000] == []


def test_no_file_names_a_home_folder():
    texts = {file: (ROOT / file).read_bytes().decode(errors="ignore") for file in files() if file.suffix != ".npz"}
    assert [f"{file}: {path.group()}" for file, text in texts.items() if (path := HOME.search(text))] == []
