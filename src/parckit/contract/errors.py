"""The one exception that means "the user gave something wrong"."""


class InputError(ValueError):
    """A mistake in what the caller gave: the message names the argument or file, its value and what is accepted.

    The command line shows it as one line and ends with exit code 2; every other exception is a fault of ours.
    """
