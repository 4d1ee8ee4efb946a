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
    """A training was asked to end (SIGTERM) and did. The command line ends with exit code 143, as the shell has it."""


class ParityError(ExportError):
    """The exported file computes something else than the model."""
