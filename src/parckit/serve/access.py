"""Which requests are answered: those with the right token, and only so many at once."""

import hmac
import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from fastapi import HTTPException

from parckit.contract import InputError
from parckit.serve.metrics import Meters

TOKEN_VARIABLE = "PARCKIT_SERVE_TOKEN"  # noqa: S105  # the variable's name, not a secret
_NEW_SHARE = 0.1
"""Share of the newest answer in the running mean of the seconds that answers take."""
_LONGEST_RETRY = 60
"""Most seconds of `Retry-After`: a few slow pictures must not send clients away for long."""


def read_token(file: Path | None) -> str | None:
    """Return the token that clients must send; None lets everybody ask.

    It is read from a file or from the environment, because others on the machine can read a command line.

    Args:
        file: whose only line is the token; None reads PARCKIT_SERVE_TOKEN.

    Raises:
        InputError: if both are there, or the token is empty or has characters that a header cannot carry.
    """
    variable = os.environ.get(TOKEN_VARIABLE)
    if file is not None and variable is not None:
        raise InputError(f"--token_file {file}: {TOKEN_VARIABLE} is set, too; give one of them")
    if file is None and variable is None:
        return None
    name = TOKEN_VARIABLE if file is None else str(file)
    token = (variable or "") if file is None else file.read_text(encoding="utf-8", errors="replace").strip()
    # The token itself is a secret, so the error does not show it.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{name}: must hold a token: ASCII letters, digits and signs without spaces")
    return token


def check_token(sent: str | None, *, token: str | None) -> None:
    """Check the token that a client sent. The check takes the same time for every wrong token of a length.

    Raises:
        HTTPException: 401 if it is not the token.
    """
    if token is not None and not hmac.compare_digest((sent or "").encode(), token.encode()):
        reason = "send the header 'Authorization: Bearer TOKEN' with the server's token"
        raise HTTPException(401, reason, headers={"WWW-Authenticate": "Bearer"})


@final
class Admission:
    """Counts the accepted requests and refuses more than a number. All calls come from the server's event loop.

    Args:
        most: accepted requests at once.
        meters: show the number.
    """

    def __init__(self, most: int, *, meters: Meters) -> None:
        self._most = most
        self._accepted = 0
        self._seconds = 0.0
        self._meters = meters

    def check(self) -> None:
        """Check that one more request can be accepted.

        Raises:
            HTTPException: 503 if there are too many.
        """
        if self._accepted >= self._most:
            raise self.busy(f"{self._accepted} requests are in work")

    @contextmanager
    def accepting(self) -> Generator[None]:
        """Count a request as accepted for as long as the body of the `with` statement runs.

        Raises:
            HTTPException: 503 if there are too many.
        """
        self.check()
        self._accepted += 1
        self._meters.accepted.set(self._accepted)
        try:
            yield
        finally:
            self._accepted -= 1
            self._meters.accepted.set(self._accepted)

    def note(self, seconds: float) -> None:
        """Note how long an accepted request has waited for its answer."""
        self._seconds += _NEW_SHARE * (seconds - self._seconds)

    def busy(self, reason: str) -> HTTPException:
        """Return the refusal for a server that is full. Its `Retry-After` is how long answers take now."""
        seconds = min(max(1, math.ceil(self._seconds)), _LONGEST_RETRY)
        return HTTPException(503, f"{reason}; try again in {seconds} s", headers={"Retry-After": str(seconds)})
