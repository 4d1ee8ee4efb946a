"""Run timm's own tests of models on parckit's: `make timm` (needs a network for pip, and some minutes).

The wheel of timm has no tests, its source archive has. pip fetches the archive of the installed version. pytest runs
`tests/test_models.py` from it, with this file as a plugin: timm then lists parckit's models instead of its own.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import timm

TESTS = Path(__file__).parent
SUITE = "tests/test_models.py"
EXCEPTIONS = {
    "test_model_forward_torchscript": "torch.jit.script is deprecated; torch.jit.trace and torch.export work",
    "test_model_forward_fx_torchscript": "as above",
}
"""Test of timm -> why it does not run."""

_list_models = timm.list_models


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = f"timm=={timm.__version__}"
        subprocess.run([*pip, "--no-binary", "timm", "--dest", name, wanted], check=True)
        (archive,) = folder.glob("timm-*.tar.gz")
        with tarfile.open(archive) as files:
            member = files.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{SUITE}")
            assert member is not None, f"{archive.name} has no {SUITE}"
            (folder / "test_models.py").write_bytes(member.read())
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        options = ["-p", "timm_models", "-p", "no:cacheprovider", "-q", "-W", "ignore", *sys.argv[1:]]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "test_models.py", *options],
            cwd=folder,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    sys.exit(ended.returncode)


def pytest_configure() -> None:
    import parckit.models  # noqa: F401  # registers the models

    timm.list_models = list_ours


def list_ours(*filters: object, module: object = "", **options: object) -> list[str]:
    """List parckit's models of the architectures that timm's suite selects; its selection of modules is timm's."""
    del module
    return [name for name in _list_models(*filters, **options) if is_ours(name)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Other tests are about models of timm alone.
    items[:] = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and item.originalname not in EXCEPTIONS
        and is_ours(str(getattr(item, "callspec", None) and item.callspec.params.get("model_name")))
    ]
    assert len(items) > 100, f"{len(items)} tests of timm were found for parckit's models"


def is_ours(name: str) -> bool:
    architecture = name.split(".", maxsplit=1)[0]
    return timm.is_model(architecture) and timm.model_entrypoint(architecture).__module__.startswith("parckit.")


if __name__ == "__main__":
    main()
