"""The exceptions that the command line shows as one line."""


class InputError(ValueError):
    """A mistake in what the caller gave: the message names the argument or file, its value and what is accepted.

    The command line shows it as one line and ends with exit code 2.
    """


class ExportError(RuntimeError):
    """The exported file is not what was asked for; nothing is left of it. The command line ends with exit code 1."""


class DivergedError(RuntimeError):
    """A training's loss is no number any more. The command line ends with exit code 1."""


class LostProcessError(RuntimeError):
    """Another process of a training is gone. The command line ends with exit code 1."""


class TerminatedError(RuntimeError):
    """A training was asked to end and did. The command line's exit code is 128 and the signal's number, as in shells.

    Args:
        message: what the command line shows.
        signum: of the signal that asked.
    """

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class ParityError(ExportError):
    """The exported file computes something else than the model."""
