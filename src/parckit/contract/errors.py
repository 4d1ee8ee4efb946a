"""The errors that the command line shows as one line."""

from parckit.contract.printing import printable

_WORKER = "Caught "
_TRACEBACK = "Traceback (most recent call last):"


SIGNAL_BASE = 128
"""A process that signal N has ended exits with 128 + N, as shells and SLURM report it."""


def last_message(error_text: str) -> str:
    """Return the message in the text of an error.

    torch raises an error of a loader's worker again, with the worker's traceback in place of the message. The last line
    of the traceback holds the message, after the type of the error. Any other text is returned as it is.
    """
    if not (error_text.startswith(_WORKER) and _TRACEBACK in error_text):
        return error_text
    return error_text.rstrip().rpartition("\n")[2].partition(": ")[2]


class ParckitError(Exception):
    """Something went wrong that a user can understand from one line.

    Args:
        message: what went wrong. In names of files and classes, characters that a terminal does not show are escaped.

    Attributes:
        exit_code: what the command line ends with.
    """

    exit_code: int = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(last_message(message)))


class InputError(ParckitError, ValueError):
    """The user gave something that cannot be used.

    The message names the argument or file, its value and what is accepted.
    """

    exit_code = 2


class IncompleteError(ParckitError):
    """Some of the candidates were measured, and others were not."""


class AbsentError(InputError):
    """This machine lacks something that the command needs.

    Args:
        message: what needs it, and how to get it.
        obstacle: why the command cannot run, such as "the package MNN is missing".

    Attributes:
        obstacle: as passed.
    """

    def __init__(self, message: str, *, obstacle: str) -> None:
        self.obstacle = obstacle
        super().__init__(message)


class MissingExtraError(AbsentError, ImportError):
    """A package is missing that the command needs. The message has the pip line that installs it.

    Args:
        what: what needs the package.
        package: the missing package.
        extra: the extra of parckit that installs it.
        source: where it comes from, if pip does not install it.
    """

    def __init__(self, what: str, *, package: str, extra: str, source: str = "") -> None:
        remedy = source or f'install it with: pip install "parckit[{extra}]"'
        super().__init__(f"{what}: needs the package {package}; {remedy}", obstacle=f"the package {package} is missing")
