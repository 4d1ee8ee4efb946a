"""The machine and the software that a measurement was made with."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from parckit.contract import VERSION

_ENGINES = ("onnxruntime", "openvino", "opencv-python-headless", "mnn", "ncnn", "ai-edge-litert", "executorch")
_CONVERTERS = ("onnx", "onnx-ir", "onnxscript", "pnnx", "litert-torch", "ai-edge-quantizer")
_PACKAGES = ("torch", "torchvision", "timm", "lightning", *_CONVERTERS, *_ENGINES, "numpy", "pillow")
"""Packages whose version can change a result."""

_SOURCES = (":/", ":(exclude,top)benchmarks/records")
"""What git compares: everything but records. A script that writes several would find the first one changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A machine and its software.

    Attributes:
        cpu: model name of the processor.
        physical_cores: number of physical cores; None if the system does not tell.
        logical_cores: number of all logical cores of the machine.
        usable_cores: number of logical cores that this process may use.
        memory_bytes: installed memory.
        system: operating system, release and architecture.
        python: version of the interpreter.
        versions: package -> version, for installed packages.
        commit: git commit of the source tree; None for an installed package.
        dirty: whether tracked files other than records differ from the commit; None if there is no commit.
        date: UTC, ISO 8601, to the second.
    """

    cpu: str
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    memory_bytes: int
    system: str
    python: str
    versions: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    date: str


def describe() -> Environment:
    """Describe this machine and the software of this process."""
    commit = _commit()
    return Environment(
        cpu=_cpu_name(),
        physical_cores=_physical_cores(),
        logical_cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions(),
        commit=commit,
        dirty=bool(_git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES)) if commit else None,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def usable_cores() -> int:
    """Return how many logical cores this process may use. If the system does not tell, return all logical cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of parckit and of the installed packages that can change a result."""
    installed = {package: _version(package) for package in _PACKAGES}
    return {"parckit": VERSION} | {package: number for package, number in installed.items() if number}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    # Instead of a "model name" per core, Linux on ARM writes one line "Model" or "Hardware" for the whole board.
    named = re.search(r"^(?:model name|Model|Hardware)\s*: (.+)$", _cpuinfo(), re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _physical_cores() -> int | None:
    if sys.platform == "darwin":
        return int(_output("sysctl", "-n", "hw.physicalcpu") or 0) or None
    cores = re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", _cpuinfo(), re.MULTILINE | re.DOTALL)
    return len(set(cores)) or None


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _commit() -> str | None:
    """Return the commit, but only if this file is tracked: a virtual environment may be in another repository."""
    return _git("rev-parse", "HEAD") if _git("ls-files", Path(__file__).name) else None


def _git(*arguments: str) -> str | None:
    return _output("git", "-C", str(Path(__file__).parent), *arguments)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # literal commands
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
