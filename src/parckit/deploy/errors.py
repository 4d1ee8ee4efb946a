"""Errors of an export. The command line exits with code 1, and the unfinished files are removed."""

from parckit.contract import ParckitError


class ExportError(ParckitError, RuntimeError):
    """The network cannot be exported, or the exported file is not as requested."""


class ParityError(ExportError):
    """The outputs of the exported file differ from the network's."""
