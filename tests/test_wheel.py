"""A wheel built from this tree, installed into an environment of its own, carries all it needs and works."""

import site
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from processes import run
from repository import copy_to, files

BUILD = ("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--quiet")
INSTALL = ("install", "--no-deps", "--no-index", "--quiet")
DATA = {".py", ".json", ".yaml", ".j2", ".typed", ".safetensors"}
SMOKE = """
import parckit, sys, torch
from importlib.resources import files
assert parckit.__file__.startswith(sys.prefix), parckit.__file__
assert any((files("parckit") / "recipes" / "classify").iterdir())
print(tuple(parckit.create_model("test_parcnet", num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape))
"""


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy: a build leaves files in the tree, and files left there earlier would enter the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(*BUILD, "--wheel-dir", folder, copy_to(folder / "tree"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts' folder of a fresh environment that holds the wheel and borrows this one's other packages."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    pip(*INSTALL, wheel, python=home / "bin" / "python")
    (packages,) = home.glob("lib/python*/site-packages")
    # Folders named in a .pth file come after the environment's own, and .pth files in them, such as that of an
    # editable parckit, are not read.
    borrowed = [folder for folder in (*site.getsitepackages(), site.getusersitepackages()) if folder in sys.path]
    (packages / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return home / "bin"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder outside the repository, from where a PYTHONPATH does not lead back into it."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    shipped = {PurePosixPath(*file.parts[1:]) for file in files() if file.parts[0] == "src" and file.suffix in DATA}
    info = {name for name in names if name.parts[0].endswith(".dist-info")}
    assert names - info == shipped
    assert {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"} <= {name.name for name in info}


def test_recipes_templates_and_type_marker_are_among_them(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert "parckit/py.typed" in names
    assert any(name.startswith("parckit/recipes/") and name.endswith(".yaml") for name in names)
    assert any(name.startswith("parckit/measure/templates/") for name in names)


def test_the_installed_package_builds_a_model(environment: Path, outside: Path):
    assert run(environment / "python", "-c", SMOKE, cwd=outside) == "(1, 2)\n"


@pytest.mark.parametrize(("verb", "expected"), [("--help", "quickstart"), ("list", "parcnet_s")])
def test_the_installed_command_answers(environment: Path, outside: Path, verb: str, expected: str):
    assert expected in run(environment / "parckit", verb, cwd=outside)
