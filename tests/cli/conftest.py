"""Runs the command line in this process. All tests share the small trainings and the bundle."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bundles import LABELS, add_pairs, write_tiny_bundle
from parckit.cli.main import main
from pictures import coloured

Command = Callable[..., str]

TRAIN = (
    "train",
    "--config=classify/digits_parcnet_xxs",
    "--model.name=test_parcnet",
    '--model.kwargs={"img_size": 32}',
    "--model.optimizer.lr=0.03",
    "--ema={decay: 0.5}",
    "--trainer.max_epochs=1",
)
EXPORT = ("export", "--opset=17")
"""Torch's older exporter takes a third of the time of the default one. tests/deploy and test_export.py try both."""
BRIEF = (
    *TRAIN,
    "--model.name=test_parcnetv2",  # it has no batch norms, which take most of the time before the first step
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal so wide that tables do not break paths."""
    monkeypatch.setenv("COLUMNS", "500")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the index of shards out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training of one epoch on the digits. The network is better than chance."""
    out = tmp_path_factory.mktemp("trained") / "run"
    main([*TRAIN, f"--out={out}"])
    return out


@pytest.fixture(scope="session")
def checkpoint(trained: Path) -> Path:
    return trained / "best.ckpt"


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "bundle"
    main([*EXPORT, str(checkpoint), f"--out={out}"])
    return out


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
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training of two steps, which has learned nothing yet."""
    out = tmp_path_factory.mktemp("begun") / "run"
    main([*BRIEF, f"--out={out}"])
    return out


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
