"""The errors that the command line shows as one line."""


class ParckitError(Exception):
    """Something went wrong that a user can understand from one line.

    Attributes:
        exit_code: what the command line ends with.
    """

    exit_code: int = 1


class InputError(ParckitError, ValueError):
    """The user gave something that cannot be used.

    The message names the argument or file, its value and what is accepted.
    """

    exit_code = 2


class MissingExtraError(InputError, ImportError):
    """A package is missing that the command needs. The message has the pip line that installs it.

    Args:
        what: what needs the package.
        package: the missing package.
        extra: the extra of parckit that installs it.
    """

    def __init__(self, what: str, *, package: str, extra: str) -> None:
        super().__init__(f'{what}: needs the package {package}; install it with: pip install "parckit[{extra}]"')
