"""A client that loads a server over HTTP/1.1: as fast as it answers, or at a rate that does not depend on it."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

_CONTINUE = 100


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

    async def post(self, body: bytes, *, query: str = "", ask_first: bool = False, due: float | None = None) -> Outcome:
        """Send a picture; `ask_first` waits until the server asks for its bytes."""
        start = perf_counter() if due is None else due
        status, retry_after, accepted = None, False, False
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            expect = "Expect: 100-continue\r\n" if ask_first else ""
            head = f"POST /predict{query} HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: {len(body)}\r\n\r\n".encode()
            writer.write(head if ask_first else head + body)
            status, headers = await _read_head(reader)
            if ask_first and status == _CONTINUE:
                status, accepted = None, True
                writer.write(body)
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


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = (line.partition(": ") for line in lines if line)
    return int(status.split()[1]), {name.lower(): value for name, _, value in headers}


def closed_loop(
    port: int,
    requests: Iterator[tuple[bytes, str]],
    *,
    clients: int,
    seconds: float,
    ask_first: bool = False,
    each_second: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Let some clients each send the next request as soon as they have the answer to the one before.

    Args:
        port: of the server.
        requests: bodies and queries.
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
            body, query = next(requests)
            outcomes.append(await connection.post(body, query=query, ask_first=ask_first))
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


def open_loop(port: int, body: bytes, *, rate: float, seconds: float) -> list[Outcome]:
    """Send requests at a rate, however long the answers take. A request that is sent late counts from when it was due.

    Args:
        port: of the server.
        body: of all requests.
        rate: requests in a second.
        seconds: how long.
    """
    free: list[Connection] = []

    async def one(due: float) -> Outcome:
        connection = free.pop() if free else Connection(port)
        outcome = await connection.post(body, due=due)
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
