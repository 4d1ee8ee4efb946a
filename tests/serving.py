"""A server in a thread, clients that send it whatever bytes they like, and a network that waits when it is told to."""

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from threading import Event, Thread
from time import monotonic, sleep
from typing import NamedTuple

import numpy as np
from PIL import Image

from bundles import LABELS, SIZE, expected_logits, tiny_spec
from parckit.contract import InputSpec, OutputSpec
from parckit.processing import CLASSIFY
from parckit.runtimes import Images, Outputs, Session
from parckit.serve.server import listen, make_server
from parckit.serve.settings import ServeSettings

SECONDS = 10.0
"""How long clients wait before a test fails."""


class GateSession:
    """The tiny bundle's network for any number of images. It runs while its gate is open, and keeps batches' sizes."""

    def __init__(self, *, batch_size: int | None = None) -> None:
        self.spec = tiny_spec()
        self.input = InputSpec(shape=(batch_size, 3, *SIZE))
        self.outputs = (OutputSpec(name="logits", dtype="float32", layout="NC", shape=(batch_size, len(LABELS))),)
        self.decoder = CLASSIFY
        self.engine, self.artefact, self.batch_size = "by hand", "gate", batch_size or 1
        self.gate, self.is_broken = Event(), False
        self.gate.set()
        self.batches: list[int] = []

    def __call__(self, images: Images) -> Outputs:
        assert self.gate.wait(SECONDS)
        if self.is_broken:
            raise RuntimeError("the engine gives up")
        self.batches.append(len(images))
        return (expected_logits(images),)


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def plain(self) -> dict:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line of a refusal."""
        (line,) = self.plain.values()
        assert list(self.plain) == ["error"]
        assert "\n" not in line
        assert len(line) < 500
        return line


class Client(NamedTuple):
    port: int

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, **headers)

    def predict(self, body: bytes | Iterator[bytes], *, query: str = "", **headers: str) -> Reply:
        return self.send("POST", f"/predict{query}", body, **headers)

    def send(self, method: str, path: str, body: bytes | Iterator[bytes] | None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.headers, answer.read())
        connection.close()
        return reply

    def wait_for(self, line: str) -> None:
        """Wait until `/metrics` has a line."""
        end = monotonic() + SECONDS
        while f"\n{line}\n" not in self.get("/metrics").body.decode():
            assert monotonic() < end, line
            sleep(0.01)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


@contextmanager
def serving(
    sessions: Session | Sequence[Session],
    *,
    token: str | None = None,
    send_buffer: int | None = None,
    **settings: object,
) -> Iterator[Client]:
    """Run a server on a free port; the system holds `send_buffer` bytes of an answer, by default megabytes."""
    usual = replace(ServeSettings(port=0), **settings)
    with listen(usual) as listening:
        if send_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        port = listening.getsockname()[1]
        server = make_server(sessions if isinstance(sessions, list) else [sessions], usual, token=token)
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Client(port)
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()


def noise(seed: int = 0, *, height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def form(*parts: tuple[str, bytes], ending: bytes = b"--line--\r\n") -> tuple[bytes, str]:
    """Return the body and the content type of a form; a part is what follows `form-data`, and its content."""
    head = b"--line\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
    body = b"".join(head % (what.encode(), content) for what, content in parts)
    return body + ending, "multipart/form-data; boundary=line"
