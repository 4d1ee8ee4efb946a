"""A running server: it listens, answers, and ends after a signal, once all accepted requests are answered."""

import asyncio
import logging
import math
import os
import signal
import socket
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Timer
from typing import cast

import uvicorn

from parckit.contract import InputError, Setting
from parckit.measure.latency import one_batch
from parckit.runtimes import Session
from parckit.serve.allocator import return_large_blocks
from parckit.serve.app import make_app
from parckit.serve.connections import Connection
from parckit.serve.metrics import Meters
from parckit.serve.pipeline import Pipeline
from parckit.serve.settings import ServeSettings

_KEEP_ALIVE_SECONDS = 75
"""How long a connection without requests stays open. It is longer than the 60 seconds after which nginx closes its
own: a server that closes first can miss a request that is under way."""
_BACKLOG = 128
"""Connections that wait to be accepted, and most that are accepted at once before the limit on their number works."""
_STRANGERS = {"python_multipart": logging.CRITICAL, "PIL": logging.CRITICAL, "uvicorn.error": logging.ERROR}
"""Loggers that write about what clients send -> lowest level that they may still write."""
_LAST_SECONDS = 1.0
"""How long threads may still work after the server has ended."""


def listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that listens, so that a wrong address is an error before the network is loaded.

    Raises:
        InputError: if the address is in use, or is not one of this machine's.
    """
    with ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
            )[0]
            # The protocol must be named: asyncio sends small answers at once only on sockets that say they are TCP.
            listening = stack.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host can look like this
            reason = error.strerror if isinstance(error, OSError) else "this is no name of a host"
            raise InputError(f"host={settings.host!r}, port={settings.port}: cannot listen there ({reason})") from error
        stack.pop_all()
        return listening


def make_server(
    sessions: Sequence[Session],
    settings: ServeSettings,
    *,
    overrides: Mapping[str, Setting] | None = None,
    token: str | None = None,
) -> uvicorn.Server:
    """Return a server that is ready to run.

    Args:
        sessions: the network, once for each inference at the same time.
        settings: limits and numbers of threads.
        overrides: values in place of the decoder's defaults.
        token: what clients must send; None lets everybody ask.

    Raises:
        InputError: if the decoder refuses a value.
    """
    # An engine plans its memory in its first inference.
    for session in sessions:
        session(one_batch(session))
    meters = Meters(sessions[0])
    pipeline = Pipeline(sessions, settings, overrides=overrides, meters=meters)
    app = make_app(pipeline, settings, meters=meters, token=token, is_stopping=lambda: server.should_exit)
    config = uvicorn.Config(
        app,
        # uvicorn only calls this class.
        http=cast("type[asyncio.Protocol]", partial(Connection, settings)),
        ws="none",
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        root_path=settings.root_path,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
    )
    server = uvicorn.Server(config)
    return server


def run_until_stopped(server: uvicorn.Server, listening: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT comes, and then until all accepted requests are answered.

    Afterwards the whole process ends within a second, even if a thread still computes.

    Args:
        server: from `make_server`.
        listening: from `listen`; requests that came earlier have waited there.
    """

    def stop(number: int, frame: object) -> None:
        del number, frame
        server.should_exit = True

    # uvicorn has handlers of its own while it runs. Afterwards it raises the signal again. This handler lets the
    # process end with exit code 0 then, as a scheduler expects of a server that it stops.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return_large_blocks()
    # What strangers send must not fill the server's log.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for name, level in _STRANGERS.items():
        logging.getLogger(name).setLevel(level)
    server.run(sockets=[listening])
    # Python waits for threads before it ends. Nobody waits for what a thread still computes now.
    last = Timer(_LAST_SECONDS, os._exit, (0,))
    last.daemon = True
    last.start()
