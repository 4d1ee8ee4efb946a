"""The whole server: start, page, stop. The process of the command line cannot import torch."""

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter, sleep

import pytest

from bundles import write_tiny_bundle
from parckit.contract import InputError
from parckit.serve.server import listen
from parckit.serve.settings import ServeSettings
from repository import ROOT
from serving import SECONDS, Client, GateSession, encoded, form, noise, serving

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from parckit.cli.main import main; main()"


@contextmanager
def started(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """Start a server whose inferences wait for a second picture."""
    bundle = write_tiny_bundle(folder / "bundle", batch=2)
    command = [sys.executable, "-c", WITHOUT_TORCH, "serve", str(bundle), "--port=0", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            port = re.search(r"http://127\.0\.0\.1:(\d+)$", process.stdout.readline().strip())[1]
            yield process, Client(int(port))
        finally:
            process.kill()


def begin_upload(client: Client, picture: bytes) -> http.client.HTTPConnection:
    """Send the first bytes of a picture."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=SECONDS)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(len(picture)))
    connection.endheaders(picture[:100])
    return connection


def test_sigterm_loses_no_accepted_request_and_ends_with_0(tmp_path):
    picture = encoded(noise())
    with started(tmp_path, "--wait_ms=1000") as (process, client), ThreadPoolExecutor(1) as pool:
        send_nonsense(client)
        slow = begin_upload(client, picture)
        waiting = pool.submit(client.predict, picture)
        client.wait_for("parckit_accepted 1.0")
        process.send_signal(signal.SIGTERM)
        # It accepts no more, but the request that waits and the one that is still arriving are answered.
        wait_until_closed(client)
        slow.send(picture[100:])
        answer = slow.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert answer.read() == waiting.result().body
        slow.close()
        assert process.wait(SECONDS) == 0
        # Nor did strangers write into the log.
        assert process.stderr.read() == ""


def send_nonsense(client: Client) -> None:
    """Send what libraries would write a warning about."""
    with client.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    body, kind = form(("name=image; filename=a\r\nContent-Transfer-Encoding: foo", b"x"))
    for content_type in (kind, "multipart/form-data"):
        assert client.predict(body, Content_Type=content_type).status == 400
    client.get("/healthz", Connection="Upgrade", Upgrade="websocket")


def test_a_stop_ends_although_requests_hang(tmp_path):
    picture = encoded(noise())
    with started(tmp_path, "--wait_ms=60000", "--stop_seconds=0.5") as (process, client), ThreadPoolExecutor(1) as pool:
        slow = begin_upload(client, picture)
        waiting = pool.submit(client.predict, picture)
        client.wait_for("parckit_accepted 1.0")
        process.send_signal(signal.SIGTERM)
        answer = slow.getresponse()
        assert (answer.status, answer.getheader("connection")) == (503, "close")
        assert (waiting.result().status, waiting.result().error) == (503, "the server stops")
        slow.close()
        assert process.wait(SECONDS) == 0
        (line,) = process.stderr.read().splitlines()
        assert "2 running task" in line


def wait_until_closed(client: Client) -> None:
    """Connect until no connection is accepted any more."""
    with suppress(OSError):
        while True:
            client.connect().close()
            sleep(0.01)


def test_the_page_needs_no_other_host():
    with serving(GateSession(), root_path="/cells") as client:
        page = client.get("/docs").body.decode()
        links = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)""", page)
        assert len(links) >= 4
        for link in links:
            assert client.get(link.removeprefix("/cells")).status == 200
        assert "https://" not in page
        schema = client.get("/openapi.json").plain
    assert {"/predict", "/healthz", "/readyz", "/metrics"} == set(schema["paths"])
    assert {"multipart/form-data", "image/*"} == set(schema["paths"]["/predict"]["post"]["requestBody"]["content"])
    assert schema["servers"] == [{"url": "/cells"}]


@pytest.mark.parametrize("token", [None, "secret"])
def test_the_page_lists_all_refusals_in_one_form(token):
    with serving(GateSession(), token=token) as client:
        paths = client.get("/openapi.json").plain["paths"]
    predict = paths["/predict"]["post"]
    refusals = {status: answer for status, answer in predict["responses"].items() if status != "200"}
    assert {*refusals} == {"400", "408", "413", "415", "422", "500", "503"} | ({"401"} if token else set())
    schemas = [answer["content"]["application/json"]["schema"] for answer in refusals.values()]
    assert all(list(schema["properties"]) == ["error"] for schema in schemas)
    assert paths["/readyz"]["get"]["responses"]["503"]["content"]["application/json"]["schema"] == schemas[0]
    assert [("security" in route) for route in (predict, paths["/metrics"]["get"])] == 2 * [token is not None]


def test_small_answers_leave_at_once():
    with serving(GateSession()) as client:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=SECONDS)
        seconds = []
        for _ in range(9):
            start = perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            seconds.append(perf_counter() - start)
        connection.close()
    # A socket with Nagle's algorithm holds an answer back for 40 ms. Without it, the best of nine takes 1 ms or so.
    assert min(seconds[1:]) < 0.03


def test_an_address_that_is_in_use_is_told():
    with listen(ServeSettings(port=0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(InputError, match=rf"host='127\.0\.0\.1', port={port}: cannot listen"):
            listen(ServeSettings(port=port))
    with pytest.raises(InputError, match=r"host='no such host', port=0: cannot listen"):
        listen(ServeSettings(host="no such host", port=0))
    with pytest.raises(InputError, match="no name of a host"):
        listen(ServeSettings(host="x" * 64, port=0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("queue", 0),
        ("connections", 0),
        ("batch", 0),
        ("sessions", 0),
        ("decoders", 0),
        ("max_bytes", 0),
        ("max_pixels", -5),
        ("wait_ms", float("nan")),
        ("wait_ms", -1.0),
        ("upload_seconds", 0.0),
        ("stop_seconds", float("inf")),
        ("root_path", "cells"),
        ("root_path", "/cells/"),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(InputError, match=rf"^{name}="):
        ServeSettings(**{name: value})


def test_the_environment_limits_pixels_unless_the_option_does(monkeypatch):
    monkeypatch.delenv("PARCKIT_MAX_PIXELS", raising=False)
    assert ServeSettings().pixels == 64_000_000
    monkeypatch.setenv("PARCKIT_MAX_PIXELS", "9")
    assert ServeSettings().pixels == 9
    assert ServeSettings(max_pixels=8).pixels == 8


@pytest.mark.parametrize(
    ("options", "port"), [((), 8000), (("--port", "9000"), 9000), (("--port=9000", "--port=9001"), 9001)]
)
def test_docker_asks_the_port_that_the_server_listens_on(options, port, tmp_path, monkeypatch):
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", text, re.MULTILINE)
    *_, code = json.loads(listed)
    command = tmp_path / "cmdline"
    command.write_text("\0".join(("python", "/usr/local/bin/parckit", "serve", "bundle", *options, "")))
    asked: list[str] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: asked.append(url))
    exec(code.replace("/proc/1/cmdline", str(command)), {})  # noqa: S102  # it is our own file
    assert asked == [f"http://127.0.0.1:{port}/readyz"]
