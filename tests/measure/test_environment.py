import json
import os
import subprocess
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

import parckit
from parckit.measure import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """This module's file, moved into a repository of its own."""
    git(tmp_path, "init", "--quiet")
    file = tmp_path / "environment.py"
    file.write_text("first")
    monkeypatch.setattr(environment, "__file__", str(file))
    return file


def test_the_machine_is_described():
    described = environment.describe()
    assert described.cpu
    assert described.logical_cores == os.cpu_count()
    assert 1 <= described.usable_cores <= described.logical_cores
    assert described.physical_cores is None or 1 <= described.physical_cores <= described.logical_cores
    assert described.memory_bytes > 1 << 28
    assert described.versions["parckit"] == parckit.__version__
    assert all(described.versions[package] == version(package) for package in ("torch", "onnxscript", "onnx-ir"))
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(described.date)) < timedelta(minutes=1)
    assert json.loads(json.dumps(asdict(described)))["cpu"] == described.cpu


def test_packages_that_are_not_installed_have_no_version(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("numpy", "no-such-package"))
    assert set(environment.versions()) == {"parckit", "numpy"}


def test_a_tracked_source_has_a_commit(source):
    record = source.parent / "benchmarks" / "records" / "speed.json"
    record.parent.mkdir(parents=True)
    record.write_text("first")
    git(source.parent, "add", ".")
    git(source.parent, "commit", "--quiet", "-m", "first")
    record.write_text("second")  # a script that writes several records changes them itself
    described = environment.describe()
    assert described.commit == git(source.parent, "rev-parse", "HEAD")
    assert described.dirty is False
    source.write_text("second")
    assert environment.describe().dirty is True


def test_a_package_inside_a_foreign_repository_has_none(source):
    (source.parent / "other").write_text("")
    git(source.parent, "add", "other")
    git(source.parent, "commit", "--quiet", "-m", "first")
    described = environment.describe()
    assert (described.commit, described.dirty) == (None, None)


def test_a_machine_without_git_has_none(source, monkeypatch):
    monkeypatch.setenv("PATH", str(source.parent))
    assert environment.describe().commit is None


def test_processors_are_read_as_x86_and_arm_kernels_write_them(monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "linux")
    core = "processor\t: {0}\nmodel name\t: Fast CPU\nphysical id\t: 0\ncore id\t\t: {1}\n\n"
    texts = iter(["".join(core.format(i, i // 2) for i in range(4)), "processor\t: 0\n\nModel\t\t: Small Board\n"])
    text = next(texts)
    monkeypatch.setattr(environment, "_cpuinfo", lambda: text)
    assert (environment._cpu_name(), environment._physical_cores()) == ("Fast CPU", 2)
    text = next(texts)
    assert (environment._cpu_name(), environment._physical_cores()) == ("Small Board", None)
