"""How a training can end before its time."""

from parckit.contract import ParckitError

_SIGNAL_BASE = 128
"""A shell and SLURM report 128 + N for a process that signal N ended."""


class DivergedError(ParckitError, RuntimeError):
    """The loss is no number any more."""


class LostProcessError(ParckitError, RuntimeError):
    """Another process of the training is gone."""


class TerminatedError(ParckitError, RuntimeError):
    """The training was asked to end, and did.

    Args:
        message: what the command line shows.
        signum: number of the signal that asked.
    """

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
        self.exit_code = _SIGNAL_BASE + signum
