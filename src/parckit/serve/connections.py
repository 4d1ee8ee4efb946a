"""Connections with limits that uvicorn does not have: on their number, and on how long a client may let them wait."""

import asyncio
from typing import TYPE_CHECKING, Any, Literal, final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parckit.serve.settings import ServeSettings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_Wait = Literal["head", "reader"]
"""What a connection waits for: the rest of a request's head, or that the client reads its answer."""


@final
class Connection(HttpToolsProtocol):
    """A connection that ends without an answer if there are too many, or if the client lets it wait too long.

    Args:
        settings: `connections` is the largest number of connections. `upload_seconds` is how long a client may take for
            the head of a request, and for each part of an answer.
        config: from uvicorn, like the other arguments.
        server_state: all connections of the server.
        app_state: what the application has kept.
    """

    def __init__(
        self,
        settings: ServeSettings,
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings = settings
        self._deadlines: dict[_Wait, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as in uvicorn
        """Close the connection if there are too many; else begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for("head")
        if len(self.connections) > self._settings.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._stop_waiting_for("head")
        self._stop_waiting_for("reader")

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the head of the next request with its first byte, when uvicorn stops to wait for it."""
        super().data_received(data)
        has_answered = self.cycle is not None and self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison] - None before the first request
        if has_answered and "head" not in self._deadlines:
            self._wait_for("head")

    def on_headers_complete(self) -> None:
        """Begin to answer a request."""
        super().on_headers_complete()
        self._stop_waiting_for("head")

    def pause_writing(self) -> None:
        """Wait for the client to read, because a part of the answer is still here."""
        super().pause_writing()
        self._wait_for("reader")

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        self._stop_waiting_for("reader")

    def _wait_for(self, what: _Wait) -> None:
        # `abort` also drops what waits to be sent; `close` would keep it until the client has read it.
        self._deadlines[what] = self.loop.call_later(self._settings.upload_seconds, self.transport.abort)

    def _stop_waiting_for(self, what: _Wait) -> None:
        if (deadline := self._deadlines.pop(what, None)) is not None:
            deadline.cancel()
