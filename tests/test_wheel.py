"""A wheel built from this tree, in an environment of the core dependencies. `make pythons` runs a bundle in such."""

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import parckit
from parckit.cli.main import VERBS
from parckit.deploy.convert import CONVERTERS
from parckit.runtimes import ENGINES
from processes import run
from reach import distributions_needed
from repository import ROOT, copy_to, files

BUILD = ("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--quiet")
INSTALL = ("install", "--no-deps", "--no-index", "--no-compile", "--quiet")
DATA = {".py", ".json", ".yaml", ".j2", ".typed", ".safetensors", ".html", ".css", ".mjs", ".sh", ".md", ".ipynb"}
BUNDLE = ROOT / "tests" / "former" / "bundle"
NEEDS_NOTHING_MORE = {"list", "web"}
"""Verbs that the core environment can run to their end."""


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy: a build leaves files in the tree, and files left there earlier would enter the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(*BUILD, "--wheel-dir", folder, copy_to(folder / "tree"))
    (built,) = folder.glob("*.whl")
    return built


def needed(requirements: list[str], *, extras: set[str] = frozenset()) -> Iterator[Distribution]:
    """Walk through installed packages and all that they need; a package may come several times."""
    for text in requirements:
        requirement = Requirement(text)
        environments = [{"extra": extra} for extra in (*extras, "")]
        if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
            continue
        package = distribution(requirement.name)
        yield package
        yield from needed(package.requires or [], extras=requirement.extras)


def environment_of(requirements: list[str], wheel: Path, home: Path) -> Path:
    """Make an environment with the wheel and links to the packages it needs; return its folder of scripts."""
    run(sys.executable, "-m", "venv", "--without-pip", home)
    pip(*INSTALL, wheel, python=home / "bin" / "python")
    (packages,) = home.glob("lib/python*/site-packages")
    for package in {package.metadata["Name"]: package for package in needed(requirements)}.values():
        for name in {file.parts[0] for file in package.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not (packages / name).exists():
                (packages / name).symlink_to(package.locate_file(name))
    return home / "bin"


def requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    return re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)


def core_requirements(wheel: Path) -> list[str]:
    return [text for text in requirements_of(wheel) if "extra ==" not in text]


def named_by(wheel: Path, extras: set[str]) -> set[str]:
    """Return the packages that the core and some extras name, with the extras that these extras contain."""
    environments = [{"extra": extra} for extra in (*extras, "")]
    names, contained = set[str](), set[str]()
    for requirement in map(Requirement, requirements_of(wheel)):
        if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
            continue
        if requirement.name == "parckit":
            contained |= requirement.extras
        else:
            names.add(canonicalize_name(requirement.name))
    return names if contained <= extras else named_by(wheel, extras | contained)


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_of(core_requirements(wheel), wheel, tmp_path_factory.mktemp("core"))


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder outside the repository, with a picture; a PYTHONPATH does not lead back from there."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    return tmp_path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    shipped = {PurePosixPath(*file.parts[1:]) for file in files() if file.parts[0] == "src" and file.suffix in DATA}
    info = {name for name in names if name.parts[0].endswith(".dist-info")}
    assert names - info == shipped
    assert {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"} <= {name.name for name in info}
    assert any(name.parts[:2] == ("parckit", "recipes") and name.suffix == ".yaml" for name in names)
    assert any(name.parts[:2] == ("parckit", "weights") for name in names)


ARGUMENTS = {
    "data": ["check", "."],
    "train": ["--config", "classify/digits_parcnet_xxs"],
    "tune": ["space.yaml", "--", "--config", "classify/digits_parcnet_xxs"],
    "eval": [str(BUNDLE), "--data", "digits"],
    "predict": [str(BUNDLE), "a.png"],
    "serve": [str(BUNDLE)],
    "export": ["weights.safetensors", "--out", "out"],
    "quantize": [str(BUNDLE), "--data", "digits"],
    "kit": [str(BUNDLE), "--check"],
    "bench": [str(BUNDLE)],
    "compare": [str(BUNDLE), "parcnet_xs.cifar10", "--data", "digits"],
    "report": [str(BUNDLE)],
    "list": [],
    "info": ["parcnet_s"],
    "erf": ["parcnet_s"],
    "cam": ["parcnet_xs.cifar10", "a.png"],
    "convert-weights": ["in.pt", "out.safetensors", "--model", "parcnet_s"],
    "quickstart": [],
    "web": ["--help"],  # all its imports stand at the top; its work needs a package from the network
}


EXTRAS_OF_MODULE: dict[str, set[str]] = {
    **{f"parckit.cli.{verb.replace('-', '_')}": {extra} for verb, (_, extra) in VERBS.items()},
    # These tables name modules as strings, which no import statement shows.
    # Engines without an extra come with the system of a board.
    **{engine.module: {engine.extra} for engine in ENGINES if engine.extra},
    **{entry.module: set(entry.extra.split(",")) for entry in CONVERTERS.values()},
    **{f"{module}:{name}": {extra} for name, (module, extra) in parckit._HOMES.items()},
}
"""Module, of a verb, an engine, a converter or a public name -> the extras that install what it needs."""
TELLS_ITS_EXTRA = {("datasets", "parckit.data.huggingface")}
"""Package and the module that imports it inside a function, with an error of its own that names its extra."""


EVERY_VERB = """
import contextlib, io, json, sys
from parckit.cli.main import main
answers = {}
for verb, arguments in json.loads(sys.argv[1]).items():
    code, printed, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            main([verb, *arguments])
        except SystemExit as ending:
            code = ending.code or 0
    answers[verb] = code, errors.getvalue()
print(json.dumps(answers))
"""
"""Runs all verbs in one process, and prints their exit codes and errors."""


def test_a_verb_whose_extra_is_missing_says_which(core: Path, outside: Path):
    answers = json.loads(run(core / "python", "-c", EVERY_VERB, json.dumps(ARGUMENTS), cwd=outside))
    codes = {verb: code for verb, (code, _) in answers.items()}
    assert codes == {verb: 0 if verb in NEEDS_NOTHING_MORE else 2 for verb in VERBS}
    for verb in VERBS:
        lines = answers[verb][1].splitlines()
        if verb in NEEDS_NOTHING_MORE:
            assert lines == []
            continue
        extra = "onnxruntime" if str(BUNDLE) in ARGUMENTS[verb] and verb in {"predict", "bench"} else VERBS[verb][1]
        assert len(lines) == 1, verb
        assert lines[0].endswith(f'pip install "parckit[{extra}]"')


@pytest.mark.parametrize(("module", "extras"), EXTRAS_OF_MODULE.items())
def test_what_a_module_imports_is_in_its_extra(wheel: Path, module: str, extras: set[str]):
    accepted = named_by(wheel, extras)
    missing = {
        package: importer
        for package, importer in distributions_needed(module.partition(":")[0]).items()
        if package not in accepted and (package, importer) not in TELLS_ITS_EXTRA
    }
    assert missing == {}, f"{module} needs packages that parckit[{','.join(extras)}] does not name"
