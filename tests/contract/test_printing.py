import os
import warnings
from collections.abc import Iterator

import pytest

from parckit.contract import InputError, ParckitError, most_pixels, printable, reading, tell_warnings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with spaces", "plain, with spaces"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m, \x85", r"\x9b31m, \x85"),  # one byte that begins a colour, and another line break
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("right\u202eto left, \u2066isolated", r"right\u202eto left, \u2066isolated"),
        ("\ufeffcat, \ufffe", r"\ufeffcat, \ufffe"),
        (os.fsdecode(b"not UTF-8: \xff"), r"not UTF-8: \udcff"),
        ("猫 é \N{FAMILY}\u200d\N{GIRL} full\u3000width", "猫 é \N{FAMILY}\u200d\N{GIRL} full\u3000width"),
        (r"back\slash \n", r"back\slash \n"),
    ],
)
def test_what_a_terminal_does_not_show_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
    assert str(InputError(f"{text}: broken")) == f"{shown}: broken"


def test_an_error_that_a_loaders_worker_raised_keeps_its_message():
    said = "a\nb.png: no such file (Errno: 2)"
    traceback = (
        f"Original Traceback (most recent call last):\n  File\nparckit.contract.errors.InputError: {InputError(said)}\n"
    )
    assert str(InputError(f"Caught InputError in DataLoader worker process 0.\n{traceback}")) == printable(said)


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    with warnings.catch_warnings():
        tell_warnings(lines.append)
        warnings.simplefilter("always")
        yield lines


def test_a_warning_names_the_file_that_is_read_once(told):
    for name in ("a\x1b.png", "a\x1b.png", "b.png"):
        with reading(name):
            warnings.warn("corrupt\nEXIF", UserWarning, stacklevel=1)
    warnings.warn("of no file", UserWarning, stacklevel=1)
    assert told == [r"a\x1b.png: corrupt EXIF", "b.png: corrupt EXIF", "of no file"]


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "1e9", "9" * 30])
def test_the_limit_of_pixels_must_be_a_number(value, monkeypatch):
    monkeypatch.setenv("PARCKIT_MAX_PIXELS", value)
    with pytest.raises(InputError, match="PARCKIT_MAX_PIXELS="):
        most_pixels()


def test_an_error_may_have_no_message():
    assert str(ParckitError()) == ""
