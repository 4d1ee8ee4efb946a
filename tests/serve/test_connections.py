"""A client that lets the server wait is sent away; the server never hangs on it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from time import monotonic, sleep

import pytest

from serving import SECONDS, Client, GateSession, encoded, noise, serving

PATIENCE = 0.3
MOST = 4
HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    limits = {"upload_seconds": PATIENCE, "connections": MOST, "max_bytes": 2_000_000}
    with serving(GateSession(), send_buffer=8192, **limits) as running:
        yield running


@pytest.mark.parametrize(("before", "head"), [(False, b""), (False, HALF), (True, HALF)])
def test_a_head_that_does_not_end_closes_the_connection(client, before, head):
    with client.connect() as connection:
        if before:
            ask(connection)
        start = monotonic()
        connection.sendall(head)
        assert read_all(connection) == b""
        assert 0.9 * PATIENCE < monotonic() - start < SECONDS


def test_bytes_of_a_body_that_nobody_wants_do_not_keep_a_connection_open(client):
    with client.connect() as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        end = monotonic() + SECONDS
        with suppress(ConnectionError):
            while monotonic() < end:
                connection.sendall(b"x")
                sleep(0.05)
        assert monotonic() < end


def test_a_connection_that_is_used_stays_open(client):
    with client.connect() as connection:
        for _ in range(3):
            ask(connection)
            sleep(0.6 * PATIENCE)


def test_further_connections_are_closed_until_one_ends(client):
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(client.connect())
        with client.connect() as further:
            start = monotonic()
            assert read_all(further) == b""
            assert monotonic() - start < PATIENCE
    sleep(0.1)
    assert client.get("/healthz").status == 200


def test_who_does_not_read_holds_a_place_and_is_sent_away(client):
    picture = encoded(noise(height=700, width=700), "PPM")
    head = b"POST /predict?answer=drawing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(picture)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", client.port))
        connection.settimeout(SECONDS)
        connection.sendall(head + picture)
        client.wait_for('parckit_responses_total{status="200"} 1.0')
        client.wait_for("parckit_accepted 1.0")
        client.wait_for("parckit_accepted 0.0")
        assert len(read_all(connection)) < 200_000


def test_a_large_answer_is_whole(client):
    picture = encoded(noise(height=700, width=700), "PPM")
    reply = client.predict(picture, query="?answer=drawing")
    assert reply.status == 200
    assert len(reply.body) == int(reply.headers["content-length"]) > 200_000


def ask(connection: socket.socket) -> None:
    """Send a request, and read its answer."""
    connection.sendall(HALF + b"\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        received += connection.recv(1000)


def read_all(connection: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(1000):
            received += data
    return received
