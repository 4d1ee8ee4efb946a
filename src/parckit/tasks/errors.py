"""Errors that end a training early."""

from parckit.contract import SIGNAL_BASE, ParckitError


class DivergedError(ParckitError, RuntimeError):
    """The loss is not a finite number."""


class LostProcessError(ParckitError, RuntimeError):
    """Another process of the training has ended."""


class TerminatedError(ParckitError, RuntimeError):
    """A signal asked the training to end, and it has ended.

    Args:
        message: the line that the command line shows.
        signum: number of the signal.
    """

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = SIGNAL_BASE + signum
