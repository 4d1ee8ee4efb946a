"""Who may ask: a token that clients send, and how many requests are accepted at once."""

import hmac
import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import final

from fastapi import HTTPException

from parckit.contract import InputError
from parckit.serve.metrics import Meters

TOKEN_VARIABLE = "PARCKIT_SERVE_TOKEN"  # noqa: S105  # the variable's name, not a secret
_NEW_SHARE = 0.1
"""Share of the newest answer in the running mean of the time that answers take."""
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
    """Check what a client sent in the time that does not depend on how much of it is right.

    Raises:
        HTTPException: 401 if it is not the token.
    """
    if token is not None and not hmac.compare_digest((sent or "").encode(), token.encode()):
        told = "send the header 'Authorization: Bearer TOKEN' with the server's token"
        raise HTTPException(401, told, headers={"WWW-Authenticate": "Bearer"})


@final
class Admission:
    """Counts the accepted requests and refuses more than a number. All calls come from the server's event loop.

    Args:
        most: accepted requests at once.
        meters: are told the number.
    """

    def __init__(self, most: int, *, meters: Meters) -> None:
        self._most = most
        self._accepted = 0
        self._seconds = 0.0
        self._meters = meters

    @contextmanager
    def accepting(self) -> Generator[None]:
        """Let the request of the body be one of the accepted ones.

        Raises:
            HTTPException: 503 at once if there are too many. `Retry-After` is how long accepted requests take now.
        """
        if self._accepted >= self._most:
            seconds = min(max(1, math.ceil(self._seconds)), _LONGEST_RETRY)
            told = f"{self._accepted} requests are in work; try again in {seconds} s"
            raise HTTPException(503, told, headers={"Retry-After": str(seconds)})
        self._accepted += 1
        self._meters.accepted.set(self._accepted)
        start = perf_counter()
        try:
            yield
        finally:
            self._accepted -= 1
            self._meters.accepted.set(self._accepted)
            self._seconds += _NEW_SHARE * (perf_counter() - start - self._seconds)
