"""A client that loads a server over HTTP/1.1: as fast as it answers, or at a rate that does not depend on it."""

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

_CONTINUE = 100


@dataclass(frozen=True)
class Request:
    """A picture to send.

    Attributes:
        body: its file, or a form with it.
        query: behind the path, with the question mark.
        content_type: the header, for a form.
    """

    body: bytes
    query: str = ""
    content_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A request and what became of it.

    Attributes:
        status: of the answer; None if the connection ended before there was one.
        seconds: from the moment at which the request was due to the end of its answer.
        retry_after: whether the answer says when to try again.
        accepted: whether the server asked for the body; only known of requests that wait for this.
    """

    status: int | None
    seconds: float
    retry_after: bool = False
    accepted: bool = False


class Connection:
    """A connection that stays open for several requests."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: Request, *, ask_first: bool = False, due: float | None = None) -> Outcome:
        """Send a picture; `ask_first` waits until the server asks for its bytes."""
        start = perf_counter() if due is None else due
        status, retry_after, accepted = None, False, False
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            more = "Expect: 100-continue\r\n" if ask_first else ""
            more += f"Content-Type: {request.content_type}\r\n" if request.content_type else ""
            head = _head(request.query, more, length=len(request.body))
            writer.write(head if ask_first else head + request.body)
            status, headers = await _read_head(reader)
            if ask_first and status == _CONTINUE:
                status, accepted = None, True
                writer.write(request.body)
                status, headers = await _read_head(reader)
            await reader.readexactly(int(headers["content-length"]))
            retry_after = "retry-after" in headers
            if headers.get("connection") == "close":
                self.close()
        except (OSError, asyncio.IncompleteReadError):
            status = None
            self.close()
        return Outcome(status=status, seconds=perf_counter() - start, retry_after=retry_after, accepted=accepted)

    def close(self) -> None:
        """Close it; the next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _head(query: str, more: str, *, length: int) -> bytes:
    return f"POST /predict{query} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n".encode()


class SlowClients:
    """Clients that send one byte of a picture whenever `send` is called, and begin again when they are sent away.

    Args:
        port: of the server.
        clients: number of them.
    """

    def __init__(self, port: int, *, clients: int) -> None:
        self._port = port
        self._sockets: list[socket.socket | None] = [None] * clients

    def send(self) -> None:
        """Send one byte from each client."""
        for index, connection in enumerate(self._sockets):
            try:
                if connection is None:
                    self._sockets[index] = socket.create_connection(("127.0.0.1", self._port))
                    self._sockets[index].sendall(_head("", "", length=1_000_000))
                else:
                    connection.sendall(b"x")
            except OSError:
                self._sockets[index] = None

    def close(self) -> None:
        """Close all connections."""
        for connection in filter(None, self._sockets):
            connection.close()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = (line.partition(": ") for line in lines if line)
    return int(status.split()[1]), {name.lower(): value for name, _, value in headers}


def closed_loop(
    port: int,
    requests: Iterator[Request],
    *,
    clients: int,
    seconds: float,
    ask_first: bool = False,
    each_second: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Let some clients each send the next request as soon as they have the answer to the one before.

    Args:
        port: of the server.
        requests: pictures.
        clients: number of them.
        seconds: how long.
        ask_first: whether they wait until the server asks for a body.
        each_second: is called once a second; True ends the load.
    """
    outcomes: list[Outcome] = []
    end = perf_counter() + seconds

    async def client() -> None:
        connection = Connection(port)
        while perf_counter() < end:
            outcomes.append(await connection.post(next(requests), ask_first=ask_first))
            if outcomes[-1].status is None:
                break  # the server has stopped
        connection.close()

    async def watch() -> None:
        while perf_counter() < end:
            await asyncio.sleep(1)
            if each_second():
                return

    async def run() -> None:
        await asyncio.gather(watch(), *(client() for _ in range(clients)))

    asyncio.run(run())
    return outcomes


def open_loop(port: int, request: Request, *, rate: float, seconds: float) -> list[Outcome]:
    """Send requests at a rate, however long the answers take. A request that is sent late counts from when it was due.

    Args:
        port: of the server.
        request: sent again and again.
        rate: requests in a second.
        seconds: how long.
    """
    free: list[Connection] = []

    async def one(due: float) -> Outcome:
        connection = free.pop() if free else Connection(port)
        outcome = await connection.post(request, due=due)
        free.append(connection)
        return outcome

    async def run() -> list[Outcome]:
        tasks: list[asyncio.Task[Outcome]] = []
        start = perf_counter()
        for number in itertools.count():
            due = start + number / rate
            if due > start + seconds:
                break
            await asyncio.sleep(max(0.0, due - perf_counter()))
            tasks.append(asyncio.create_task(one(due)))
        outcomes = await asyncio.gather(*tasks)
        for connection in free:
            connection.close()
        await asyncio.sleep(0)
        return outcomes

    return asyncio.run(run())


def wait_for_port(read_line: Callable[[], str], *, patience: float = 60.0) -> int:
    """Return the port that a server prints in its first line."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        _, _, address = read_line().partition("http://127.0.0.1:")
        if address:
            return int(address)
    raise TimeoutError("the server did not start")
