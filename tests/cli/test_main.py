import os
import subprocess
import sys

import pytest

from parckit import __version__
from parckit.cli import list as list_verb
from parckit.cli.main import VERBS, main
from parckit.contract import InputError, ParckitError
from parckit.tasks import TerminatedError


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_names_every_verb(argv, parckit):
    printed = parckit(*argv)
    assert all(f"  {verb} " in printed and summary in printed for verb, (summary, _) in VERBS.items())


def test_version(parckit):
    assert parckit("--version") == f"parckit {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as ending:
        main([verb, "--help"])
    assert ending.value.code == 0
    assert f"parckit {verb}" in capsys.readouterr().out


def test_an_unknown_verb_is_named_with_the_known_ones(mistake):
    message = mistake("infer", "x")
    assert message.startswith("'infer'")
    assert all(verb in message for verb in VERBS)


def raising(error: BaseException):
    def verb(argv: list[str]) -> None:
        raise error

    return verb


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("size=0: must be positive"), "size=0: must be positive"),
        (FileNotFoundError(2, "No such file or directory", "a.pt"), "a.pt: No such file or directory"),
        (OSError("disk full"), "disk full"),
        (PermissionError(), "PermissionError"),
    ],
    ids=repr,
)
def test_what_the_user_can_mend_is_one_line(error, said, mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(error))
    assert mistake("list") == said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ParckitError("differs from torch"), 1),
        (InputError("size=0"), 2),
        (TerminatedError("asked to end", signum=15), 143),
    ],
    ids=repr,
)
def test_the_kind_of_error_decides_the_exit_code(error, code, mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(error))
    assert mistake("list", code=code) == str(error)


def test_a_missing_package_ends_with_the_pip_line(mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(ModuleNotFoundError("no", name="absent.part")))
    expected = 'parckit list: needs the package absent; install it with: pip install "parckit[models]"'
    assert mistake("list") == expected


def test_a_missing_module_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(ModuleNotFoundError("no", name="parckit.absent")))
    with pytest.raises(ModuleNotFoundError):
        main(["list"])


def test_an_interrupt_has_a_code_of_its_own(mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(KeyboardInterrupt()))
    assert mistake("list", code=130) == "interrupted"


def test_an_error_from_a_loaders_worker_is_one_line(digit_folder, bundle, mistake):
    path = digit_folder / "3" / "000.png"
    path.write_bytes(b"")
    message = mistake("eval", bundle, "--data", digit_folder, "--data.split=all", "--data.workers=1")
    assert message.startswith(f"{path}: ")


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="a fault"):
        main(["list"])


def test_the_traceback_can_be_seen(monkeypatch):
    monkeypatch.setenv("PARCKIT_TRACEBACK", "1")
    with pytest.raises(InputError, match="no_such_model"):
        main(["info", "no_such_model"])


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux alone")
def test_threads_that_wait_leave_their_core_to_others():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "parckit.cli.main", "info", "test_parcnet"]
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "GOMP_SPINCOUNT = '0'" in done.stderr  # how often a waiting thread looks for work before it sleeps


def test_the_user_may_want_threads_to_wait_in_another_way(monkeypatch, parckit):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    parckit("list")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
