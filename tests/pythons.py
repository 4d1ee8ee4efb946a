"""Try the wheel without torch on every Python that parckit supports: `make pythons` (needs a network for pip).

For each interpreter an empty environment gets the wheel, which must bring no torch, and then ONNX Runtime. There every
module that a board needs is imported, and `parckit predict` and `parckit bench` run on a bundle.
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
"""Accepted size of site-packages beside pip and setuptools; numpy, Pillow and ONNX Runtime alone take 174."""
UNLIMITED = "3.10"
"""The last ONNX Runtime for this version still brings sympy, which is not ours to leave out."""
FORBIDDEN = ("torch", "torchvision", "timm", "scipy", "sklearn", "lightning", "matplotlib")

PICTURE = "from PIL import Image; Image.new('RGB', (40, 30), 'red').save('a.png')"
IMPORTS = """
import importlib, pkgutil, sys, parckit
for room in ("contract", "options", "processing", "runtimes"):
    module = importlib.import_module(f"parckit.{room}")
    for entry in pkgutil.iter_modules(module.__path__, f"parckit.{room}."):
        if entry.name != "parckit.runtimes.torch":
            importlib.import_module(entry.name)
print(parckit.load(sys.argv[1])("a.png"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowest", action="store_true", help="install the lowest versions that pyproject.toml accepts")
    parser.add_argument("--only", choices=VERSIONS, help="try one version")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        tried = [try_python(python, wheel, Path(folder), lowest=args.lowest) for python in interpreters(args.only)]
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


def try_python(python: Path, wheel: Path, folder: Path, *, lowest: bool) -> str:
    place = folder / python.parent.parent.name
    subprocess.run([str(python), "-m", "venv", str(place)], check=True)
    run = place / "bin"
    pip = [str(run / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
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


def lowest_versions() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [requirement.replace(">=", "==") for requirement in project["dependencies"]]


if __name__ == "__main__":
    main()
