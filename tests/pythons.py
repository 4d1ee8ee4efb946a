"""Try the wheel in empty environments: `make pythons` and `make lowest` (both need a network for pip).

`make pythons` tries the wheel without torch on every Python that parckit supports. The environment gets the wheel,
which must bring no torch, and then ONNX Runtime. There every module that a board needs is imported, and
`parckit predict` and `parckit bench` run on a bundle.

`make lowest` installs the lowest versions of everything that the extra `quickstart` names, and runs
`parckit quickstart`, which trains, exports, evaluates, benchmarks and reports. It takes some minutes and 9 GB of disk,
because the oldest torch that we accept brings CUDA.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
BUNDLE = ROOT / "tests" / "former" / "bundle"
LIMIT_MB = 220
"""Accepted size of site-packages without pip and setuptools, in MB. numpy, Pillow and ONNX Runtime alone take 174."""
UNLIMITED = "3.10"
"""The Python version that may exceed LIMIT_MB. The last ONNX Runtime for it needs sympy, which takes 60 MB; the ONNX
Runtimes for later Pythons do not need it."""
FORBIDDEN = ("torch", "torchvision", "timm", "scipy", "sklearn", "lightning", "matplotlib")

PICTURE = "from PIL import Image; Image.new('RGB', (40, 30), 'red').save('a.png')"
IMPORTS = """
import importlib, pkgutil, sys, parckit
from parckit.runtimes import ENGINES
absent = {engine.module for engine in ENGINES if not engine.is_installed}
for room in ("contract", "options", "processing", "runtimes"):
    module = importlib.import_module(f"parckit.{room}")
    for entry in pkgutil.iter_modules(module.__path__, f"parckit.{room}."):
        if entry.name not in absent:
            importlib.import_module(entry.name)
print(parckit.load(sys.argv[1])("a.png"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowest", action="store_true", help="install the lowest versions that pyproject.toml accepts")
    parser.add_argument("--quickstart", action="store_true", help="run the quickstart instead of what a board runs")
    parser.add_argument("--only", choices=VERSIONS, help="try one version of Python")
    args = parser.parse_args()
    attempt = try_quickstart if args.quickstart else try_board
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        tried = [attempt(python, wheel, Path(folder), lowest=args.lowest) for python in interpreters(args.only)]
    if not tried:
        sys.exit(f"no Python {args.only or ', '.join(VERSIONS)} was found on PATH or in pyenv's folder")
    print("tried: " + ", ".join(tried))


def interpreters(only: str | None) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in (only,) if only else VERSIONS:
        candidates = sorted(pyenv.glob(f"{version}.*/bin/python"))
        on_path = shutil.which(f"python{version}")
        if candidates:
            yield candidates[-1]
        elif on_path:
            yield Path(on_path)
        else:
            print(f"Python {version}: not found, left out")


def build(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(python: Path, folder: Path) -> tuple[Path, list[str]]:
    """Make an empty environment; return its folder and its command to install packages."""
    place = folder / python.parent.parent.name
    subprocess.run([str(python), "-m", "venv", str(place)], check=True)
    return place, [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def try_quickstart(python: Path, wheel: Path, folder: Path, *, lowest: bool) -> str:
    place, pip = environment(python, folder)
    subprocess.run([*pip, f"{wheel}[quickstart]", *(lowest_versions("quickstart") if lowest else [])], check=True)
    command = [place / "bin" / "parckit", "quickstart", "--out", "out", "--max_epochs", "1"]
    subprocess.run(command, cwd=place, check=True)
    assert (place / "out" / "report.html").is_file()
    return place.name


def try_board(python: Path, wheel: Path, folder: Path, *, lowest: bool) -> str:
    place, pip = environment(python, folder)
    run = place / "bin"
    subprocess.run([*pip, str(wheel), *(lowest_versions() if lowest else [])], check=True)
    said = subprocess.run(
        [run / "parckit", "predict", BUNDLE, "a.png"], cwd=place, check=False, capture_output=True, text=True
    )
    assert said.returncode == 2, said
    assert 'pip install "parckit[onnxruntime]"' in said.stderr, said.stderr
    subprocess.run([*pip, "onnxruntime==1.20.0" if lowest else "onnxruntime"], check=True)
    subprocess.run([run / "python", "-c", PICTURE], cwd=place, check=True)
    subprocess.run([run / "python", "-c", IMPORTS, BUNDLE], cwd=place, check=True, stdout=subprocess.DEVNULL)
    for verb in (["--help"], ["predict", BUNDLE, "a.png"], ["bench", BUNDLE, "--seconds", "0.1", "--record", "b.json"]):
        subprocess.run([run / "parckit", *verb], cwd=place, check=True, stdout=subprocess.DEVNULL)
    (packages,) = place.glob("lib/python*/site-packages")
    present = [name for name in FORBIDDEN if (packages / name).exists()]
    assert not present, f"the core brings {present}"
    size = sum(
        path.stat().st_size
        for entry in packages.iterdir()
        if not entry.name.startswith(("pip", "setuptools", "pkg_resources", "_distutils"))
        for path in ([entry] if entry.is_file() else entry.rglob("*"))
        if path.is_file()
    )
    megabytes = size / 1e6
    assert megabytes <= LIMIT_MB or place.name.startswith(UNLIMITED), (
        f"site-packages takes {megabytes:.0f} MB, {LIMIT_MB} are accepted"
    )
    print(f"Python {place.name}: {megabytes:.0f} MB")
    return place.name


def lowest_versions(extra: str | None = None) -> list[str]:
    """Return the lowest versions that the core accepts, and those of an extra and the extras in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting, requirements = [extra] if extra else [], set(project["dependencies"])
    while waiting:
        for requirement in project["optional-dependencies"][waiting.pop()]:
            if requirement.startswith("parckit["):
                waiting.append(requirement.removeprefix("parckit[").removesuffix("]"))
            else:
                requirements.add(requirement)
    return sorted(requirement.replace(">=", "==") for requirement in requirements)


if __name__ == "__main__":
    main()
