"""The machine and the software that a number was measured with."""

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

_PACKAGES = ("torch", "torchvision", "timm", "lightning", "onnx", "onnxruntime", "numpy", "pillow")
"""Those whose version can move a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where and with what something was run.

    Attributes:
        cpu: model name of the processor.
        physical_cores: None where the system does not tell.
        logical_cores: all of the machine's, including those that this process may not use.
        usable_cores: those that it may use.
        memory_bytes: installed memory.
        system: operating system, release and architecture.
        python: version of the interpreter.
        versions: package -> version, of those installed.
        commit: git commit of the source tree, None for an installed package.
        dirty: whether tracked files differ from the commit; None without one.
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
    """Describe this machine and this process's software, now."""
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
        dirty=bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def usable_cores() -> int:
    """Return how many logical cores this process may use; all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of parckit and of the installed packages that can move a result."""
    installed = {package: _version(package) for package in _PACKAGES}
    return {"parckit": VERSION} | {package: found for package, found in installed.items() if found}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    # ARM kernels write "Model" or "Hardware" once for the board instead of a model name per core.
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
    """Return the commit only if this file is tracked: a virtual environment may lie inside a foreign repository."""
    return _git("rev-parse", "HEAD") if _git("ls-files", Path(__file__).name) else None


def _git(*arguments: str) -> str | None:
    return _output("git", "-C", str(Path(__file__).parent), *arguments)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # literal commands
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
