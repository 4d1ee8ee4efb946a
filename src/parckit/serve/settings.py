"""The settings of a server."""

import math
from dataclasses import dataclass, fields

from parckit.contract import InputError, most_pixels

_USUAL_PIXELS = 64_000_000
"""Most pixels if nobody sets a limit: as many as the cameras of most phones take. Pillow holds them in 256 MB."""
_LARGEST_PORT = 65_535
_MOST_SESSIONS = 256
"""More copies of a network than any machine runs at once; every copy needs memory and a thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """How a server listens, what it accepts, and how it shares its work among threads.

    Attributes:
        host: address to listen at; 0.0.0.0 listens at all of the machine's, 127.0.0.1 at none that others reach.
        port: to listen at; 0 takes a free one.
        root_path: path under which a proxy shows the server, such as /blood; the proxy must cut it off.
        queue: most requests that are accepted at once, those in work included; others get 503.
        connections: most connections that are open at once; others are closed without an answer.
        batch: most pictures of one inference, if the artefact takes any number; it decides otherwise.
        wait_ms: how long an inference waits for more pictures, milliseconds.
        sessions: inferences at the same time; every one has a copy of the network.
        threads: of one inference; by default as many as the engine takes, or 1 with several sessions.
        decoders: threads that decode and prepare pictures; by default one for each core.
        max_bytes: most bytes of a request.
        max_pixels: most pixels of a picture; by default what PARCKIT_MAX_PIXELS says, or else 64 million.
        upload_seconds: how long a request's head, its bytes, and each part of its answer may take on their way.
        stop_seconds: how long accepted requests may take after a signal to stop.

    Raises:
        InputError: if a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    root_path: str = ""
    queue: int = 32
    connections: int = 512
    batch: int = 8
    wait_ms: float = 2.0
    sessions: int = 1
    threads: int | None = None
    decoders: int | None = None
    max_bytes: int = 20_000_000
    max_pixels: int | None = None
    upload_seconds: float = 30.0
    stop_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _LARGEST_PORT:
            raise InputError(f"port={self.port}: must be from 0 to {_LARGEST_PORT}")
        if not 1 <= self.sessions <= _MOST_SESSIONS:
            raise InputError(f"sessions={self.sessions}: must be from 1 to {_MOST_SESSIONS}")
        for name in ("queue", "connections", "batch", "decoders", "max_bytes", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value}: must be a whole number, at least 1")
        if not 0 <= self.wait_ms < math.inf:
            raise InputError(f"wait_ms={self.wait_ms}: must be a number of milliseconds, at least 0")
        for name in ("upload_seconds", "stop_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}={getattr(self, name)}: must be a number of seconds, above 0")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise InputError(f"root_path={self.root_path!r}: must begin with a slash and not end with one")

    @property
    def pixels(self) -> int:
        """Most pixels of a picture."""
        return self.max_pixels or most_pixels() or _USUAL_PIXELS

    @property
    def engine_threads(self) -> int | None:
        """Threads of one inference; None leaves the number to the engine."""
        return 1 if self.threads is None and self.sessions > 1 else self.threads


SETTINGS = tuple(field.name for field in fields(ServeSettings))
"""Names of all settings."""
