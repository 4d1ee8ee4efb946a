"""Runs the command line in this process. All tests share the small trainings and the bundle."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from bundles import LABELS, add_pairs, write_tiny_bundle
from parckit.cli.main import main
from pictures import coloured
from processes import measure_no_memory
from small_trainings import BRIEF, TRAIN

Command = Callable[..., str]

EXPORT = ("export", "--opset=17")
"""Torch's older exporter takes a third of the time of the default one. tests/deploy and test_export.py try both."""


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal so wide that tables do not break paths."""
    monkeypatch.setenv("COLUMNS", "500")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the index of shards out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module", autouse=True)
def no_other_process() -> Iterator[None]:
    """Measure no memory of engines."""
    with pytest.MonkeyPatch.context() as patch:
        measure_no_memory(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def no_layout() -> Iterator[None]:
    """Draw pictures without room for their words, which takes a third of the time. tests/report gives them room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda engine, figure: None)
        yield


@pytest.fixture
def parckit(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*argv: object) -> str:
        """Run the command line; return what it prints on standard output."""
        capsys.readouterr()
        main([str(arg) for arg in argv])
        return capsys.readouterr().out

    return run


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*argv: object, code: int = 2) -> str:
        """Run the command line; return the message of the one line on standard error that it ends with."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main([str(arg) for arg in argv])
        assert ending.value.code == code
        (line,) = capsys.readouterr().err.splitlines()
        # An error keeps a loader's workers alive through a reference cycle. If the garbage collector frees them later,
        # torch waits 5 seconds for every worker, so break the cycle here.
        error: BaseException | None = ending.value
        while error is not None:
            error.__traceback__, error = None, error.__context__
        assert line.startswith("parckit: error: ")
        return line.removeprefix("parckit: error: ")

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives this process its copy of a folder, which one of all test processes makes."""
    temporary = tmp_path_factory.getbasetemp()
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary

    def make(name: str, *argv: str) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name).exists():
                main([*argv, f"--out={shared / name}"])
        return shutil.copytree(shared / name, tmp_path_factory.mktemp(name) / name)

    return make


@pytest.fixture(scope="session")
def trained(made_once: Callable[..., Path]) -> Path:
    """Return the folder of a training of one epoch on the digits. The network is better than chance."""
    return made_once("run", *TRAIN)


@pytest.fixture(scope="session")
def checkpoint(trained: Path) -> Path:
    return trained / "best.ckpt"


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, made_once: Callable[..., Path]) -> Path:
    return made_once("bundle", *EXPORT, str(checkpoint))


@pytest.fixture(scope="session")
def two_artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with the artefacts `onnx-fp32` and `pairs`; `pairs` has a batch of two and the precision int8."""
    folder = tmp_path_factory.mktemp("two")
    return add_pairs(write_tiny_bundle(folder / "bundle"), made_in=folder / "made")


@pytest.fixture
def animal_folder(tmp_path: Path) -> Path:
    """Return a folder with one picture of every class of `two_artefacts`, whose answers are random."""
    for seed, label in enumerate(LABELS):
        (tmp_path / "animals" / "test" / label).mkdir(parents=True)
        coloured("green", seed=seed).save(tmp_path / "animals" / "test" / label / "000.png")
    return tmp_path / "animals"


@pytest.fixture(scope="session")
def begun(made_once: Callable[..., Path]) -> Path:
    """Return the folder of a training of two steps, which has learned nothing yet."""
    return made_once("begun", *BRIEF)


@pytest.fixture
def start_training() -> tuple[str, ...]:
    """Return the arguments of the training of `begun`, without `--out`."""
    return BRIEF


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    coloured("red").save(path)
    return path


@pytest.fixture
def digit_folder(tmp_path: Path) -> Path:
    """Return a folder of the digits' ten classes with one picture each."""
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        coloured("red", seed=digit).save(tmp_path / "digits" / str(digit) / "000.png")
    return tmp_path / "digits"
