"""Why an export was refused: one line each, fit for the command line."""


class ExportError(RuntimeError):
    """The exported file is not what was asked for."""


class ParityError(ExportError):
    """The exported file computes something else than the model."""
