"""Text that may be shown on a terminal, whatever names of files and classes it contains."""

import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control and format characters, surrogates (bytes of a name that is not UTF-8), line breaks."""

_JOINERS = "\u200c\u200d"
"""They join letters of Indian scripts, and emoji."""

_REASON_LENGTH = 300
"""Most characters of another program's message that an error shows. Some messages have pages."""

_read_file: ContextVar[str] = ContextVar("_read_file", default="")


def printable(text: str) -> str:
    r"""Return text in one line, with every character that is not shown written as in Python, such as `\n` or `\x1b`.

    A name of a file may contain a line break, or characters that change the colour of a terminal or the order of
    letters. Text that is printable already stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(letter.encode("unicode_escape").decode() if _is_hidden(letter) else letter for letter in text)


def _is_hidden(letter: str) -> bool:
    is_no_character = ord(letter) & 0xFFFE == 0xFFFE  # XML, and so SVG, refuses U+FFFE and U+FFFF too
    return is_no_character or (unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS)


def shorten_message(message: object) -> str:
    """Return the beginning of an error's or program's message, in one line."""
    return textwrap.shorten(str(message), _REASON_LENGTH)


@contextmanager
def reading(name: str) -> Generator[None]:
    """Let warnings of the body begin with the name of the file that it reads; see `tell_warnings`."""
    token = _read_file.set(name)
    try:
        yield
    finally:
        _read_file.reset(token)


def tell_warnings(tell: Callable[[str], None]) -> None:
    """Let every warning of Python be told as one line that names the file that is being read.

    Pillow warns, but does not say about which file. This changes the whole process, so only programs call it.

    Args:
        tell: takes the lines; no line comes twice.
    """
    told: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        name = _read_file.get()
        line = printable(" ".join(f"{name}: {message}".split()) if name else " ".join(str(message).split()))
        if line not in told:
            told.add(line)
            tell(line)

    warnings.showwarning = show
    # Python shows a warning of Pillow for the first file only.
    warnings.filterwarnings("always", module=r"PIL\.")
