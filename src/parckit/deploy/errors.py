"""Errors of an export. The command line ends with exit code 1; nothing is left of what was being written."""

from parckit.contract import ParckitError


class ExportError(ParckitError, RuntimeError):
    """The exported file is not what was asked for."""


class ParityError(ExportError):
    """The exported file computes something else than the network."""
