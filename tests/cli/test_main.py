import errno
import io
import json
import os
import shutil
import sys
import threading
import warnings
from typing import cast

import pytest
from PIL import Image

from parckit import __version__
from parckit.cli import list as list_verb
from parckit.cli import main as main_module
from parckit.cli.main import VERBS, main
from parckit.contract import InputError, ParckitError, printable
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


# A line break, a colour, the line break of Unicode, one that is not UTF-8, and an order of letters.
HOSTILE = ("a\nb", "a\x1b[31mb", "a\u2028b", os.fsdecode(b"a\xffb"), "a\u202eb")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_is_shown_escaped_in_errors_tables_and_json(name, animal_folder, two_artefacts, parckit, mistake):
    folder = animal_folder.with_name(name)
    animal_folder.rename(folder)
    broken = folder / "broken.png"
    broken.write_bytes(b"")
    shown = str(folder.with_name(printable(name)))
    assert mistake("predict", two_artefacts, broken).startswith(f"{shown}/broken.png: not an image")
    assert mistake("eval", two_artefacts, "--data", folder / "none").startswith(f"{shown}/none: no such ")
    assert mistake("train", "--config", broken).startswith(f"--config {shown}/broken.png: ")
    picture = next(folder.rglob("000.png"))
    printed = parckit("predict", two_artefacts, picture)
    assert shown in printed
    assert all(line == printable(line) for line in printed.splitlines())
    assert [*json.loads(parckit("predict", two_artefacts, picture, "--json"))] == [str(picture)]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_strict_terminal_of_any_encoding_gets_all_lines(encoding, two_artefacts, picture, tmp_path, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", output)
    shutil.copy(picture, path := tmp_path / "猫é\udcff.png")
    main(["predict", str(two_artefacts), str(path)])
    output.flush()
    printed = cast("io.BytesIO", output.buffer).getvalue().decode(encoding)
    assert "猫é\\udcff.png".encode(encoding, "backslashreplace").decode(encoding) in printed


def test_a_warning_of_pillow_names_the_picture(two_artefacts, picture, parckit, caplog, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 20 - 1)  # it is above the limit, but below twice the limit
    with warnings.catch_warnings():
        parckit("predict", two_artefacts, picture, "--artefact=pairs")
    assert caplog.messages[0].startswith(f"{picture}: Image size (480 pixels)")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory."), RuntimeError("can't allocate memory")]
)
def test_a_lack_of_memory_is_one_line(error, mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(error))
    assert mistake("list").startswith("not enough memory")


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 12) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 12, 13) exited unexpectedly",
    ],
)
def test_a_loader_process_that_has_gone_is_one_line(text, mistake, monkeypatch):
    monkeypatch.setattr(list_verb, "main", raising(RuntimeError(text)))
    assert mistake("list").startswith("the system ended process 12, which loads images")


@pytest.mark.parametrize(("error", "is_hidden"), [(OSError(errno.ENOSPC, "full"), True), (OSError("lost"), False)])
def test_only_errors_of_a_disk_are_hidden_in_threads(error, is_hidden, capsys):
    main_module._pass_over_full_disks(threading.ExceptHookArgs((type(error), error, None, None)))
    assert (capsys.readouterr().err == "") == is_hidden


WRITING = (
    ("eval", "none.ckpt", "--data=digits", "--record"),
    ("eval", "none.ckpt", "--data=digits", "--picture"),
    ("bench", "none.ckpt", "--record"),
    ("export", "none.ckpt", "--out"),
    ("report", "none", "--out"),
    ("cam", "none.ckpt", "none.png", "--out"),
    ("erf", "none.ckpt", "--out"),
    ("erf", "none.ckpt", "--record"),
    ("predict", "none.ckpt", "none.png", "--draw"),
    ("quickstart", "--out"),
    ("train", "--config=classify/digits_parcnet_xxs", "--out"),
)
ENDINGS = {"--record": "x.json", "--picture": "x.png", "report": "x.html", "cam": "x.png", "erf": "x.png"}


@pytest.mark.parametrize("argv", WRITING, ids=" ".join)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(argv, picture, mistake):
    verb, option = argv[0], argv[-1]
    place = picture / ENDINGS.get(option, ENDINGS.get(verb, "x"))
    assert mistake(*argv, place) == f"{option} {place}: cannot be written ({picture}: Not a directory)"
    assert mistake(*argv, "") == mistake(*argv[:-1], f"{option}=") == f"{option}: is empty"


@pytest.mark.parametrize(
    "argv", [("data", "pack", "none", ""), ("predict", "", "a.png"), ("data", "check", ""), ("info", "")], ids=str
)
def test_an_empty_argument_does_not_stand_for_the_working_folder(argv, mistake):
    assert mistake(*argv) == "an argument is empty"
