"""What the server refuses: one line and a 4xx or 503 for it, and it goes on."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter, sleep

import pytest
from PIL import Image

from bundles import write_tiny_bundle
from parckit.runtimes import open_session
from serving import GateSession, encoded, form, noise, serving

LIMIT = 200_000
PIXELS = 100_000
FILE = ('name=image; filename="a.png"', b"x")


def png(width: int, height: int, *, data: bytes = b"", more: bytes = b"") -> bytes:
    """Return a PNG that promises a size, whatever pixels follow."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def wrong_sum(data: bytes) -> bytes:
    """Damage the checksum of a PNG's header."""
    return data[:29] + bytes(4) + data[33:]


def jpeg(*parts: bytes, data: bytes = b"") -> bytes:
    """Return a progressive JPEG with further parts in front, and further bytes before its end."""
    good = encoded(noise(), "JPEG", progressive=True)
    return good[:2] + b"".join(parts) + good[2:-2] + data + good[-2:]


GOOD = encoded(noise())
LAST_SCAN = jpeg()[jpeg().rindex(b"\xff\xda") : -2]
COMMENT = b"\xff\xfe\0\2"
SCANS = b"\xff\xda" * 200
TEXT_BOMB = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
HOSTILE = {
    "nothing": b"",
    "text": b"hello",
    "page": b"<!DOCTYPE html><svg xmlns='http://www.w3.org/2000/svg'/>",
    "program for EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "zip": b"PK\3\4" + bytes(60),
    **{f"cut {kind}": encoded(noise(), kind)[:-2000] for kind in ("PNG", "BMP", "TIFF")},
    **{f"half {kind}": encoded(noise(), kind)[:800] for kind in ("JPEG", "WEBP", "GIF")},
    "wrong checksum": wrong_sum(GOOD),
    "damaged pixels": GOOD[:100] + bytes(100) + GOOD[200:],
    "bomb of pixels": png(60_000, 60_000),
    "bomb of a size that no memory holds": png(2**31 - 1, 2**31 - 1),
    "bomb of one colour": encoded(Image.new("1", (4000, 4000))),
    "bomb of text": png(4, 4, data=bytes(52), more=TEXT_BOMB),
    "no width": png(0, 7),
    "no pixels": png(40, 40),
    "GIF without a size": b"GIF89a" + bytes(7) + b";",
    "BMP of a negative width": b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, -5, 5, 1, 24, 0, 0, 0, 0, 0, 0),
    "TIFF that points at itself": b"II*\0\x08\0\0\0" + b"\0\0\x08\0\0\0",
    "JPEG of scans without end": jpeg(data=LAST_SCAN * 100),
    "JPEG of scans behind a marker without length": jpeg(b"\xff\1", data=LAST_SCAN * 100),
    "JPEG of comments without end": jpeg(COMMENT * 6000),
    "grey of an unknown range": b"P5\n4 4\n0\n" + bytes(16),
}
ODD = {
    "one pixel": encoded(Image.new("RGB", (1, 1))),
    "one row": encoded(Image.new("RGB", (50_000, 1))),
    "one column": encoded(Image.new("RGB", (1, 50_000))),
    "sixteen bits": encoded(Image.new("I;16", (9, 9))),
    "palette with alpha": encoded(Image.new("P", (9, 9)), transparency=bytes([0, 128])),
    "animation": encoded(noise(), "GIF", save_all=True, append_images=[noise(1)]),
    "bytes behind the end": GOOD + bytes(1000),
    "progressive JPEG": jpeg(),
    "JPEG with a film behind its end": jpeg() + SCANS,
    "JPEG with a long comment": jpeg(b"\xff\xfe" + (2 + len(SCANS)).to_bytes(2, "big") + SCANS),
}
FORMS = {
    "no file": form(("name=image", b"x")),
    "two files": form(FILE, FILE),
    "many fields": form(*[("name=a", b"")] * 21, ("name=image; filename=a.png", GOOD)),
    "nothing": (b"", "multipart/form-data; boundary=line"),
    "no end": form(FILE, ending=b"--li"),
    "no boundary": (form(FILE)[0], "multipart/form-data"),
    "another boundary": (form(FILE)[0], "multipart/form-data; boundary=other"),
    "part without a name": form(("", b"x")),
    "long boundary": (form(FILE)[0], f"multipart/form-data; boundary={'x' * 3000}"),
    "no picture": form(FILE),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    session = open_session(write_tiny_bundle(tmp_path_factory.mktemp("serve") / "bundle"))
    with serving(session, max_bytes=LIMIT, max_pixels=PIXELS, upload_seconds=0.3, queue=4) as running:
        yield running
        assert running.predict(GOOD).status == 200
        text = running.get("/metrics").body.decode()
        assert "\nparckit_accepted 0.0\n" in text
        assert 'status="500"' not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(client, name):
    reply = client.predict(HOSTILE[name])
    assert reply.status == 400
    assert reply.error.startswith("request body: ")


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_is_answered(client, name):
    assert client.predict(ODD[name]).status == 200


@pytest.mark.parametrize("name", FORMS)
def test_a_wrong_form_is_refused(client, name):
    body, kind = FORMS[name]
    reply = client.predict(body, Content_Type=kind)
    assert reply.status == 400
    assert reply.error


def test_a_files_name_cannot_break_the_line(client):
    body, kind = form((f'name=image; filename="{"x" * 3000}\x1b[1m\u2028.png"', b"no picture"))
    assert "\\x1b[1m\\u2028.png: not an image" in client.predict(body, Content_Type=kind).error


def test_bytes_are_limited(client):
    large = bytes(LIMIT + 1)
    for body in (large, iter([large[:1000], large])):  # a length in the header, and chunks
        reply = client.predict(body)
        assert (reply.status, str(LIMIT) in reply.error) == (413, True)


def test_a_client_that_asks_first_sends_nothing_in_vain(client):
    with client.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1)
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_slow_client_is_sent_away(client):
    with client.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfirst")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_slow_clients_hold_no_place(client):
    with ExitStack() as stack:
        for _ in range(9):  # more than the queue holds
            connection = stack.enter_context(client.connect())
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfirst")
        client.wait_for("parckit_uploads 9.0")
        assert client.predict(GOOD).status == 200


def test_pictures_that_arrive_have_room_for_so_many_bytes():
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n"
    with serving(GateSession(), queue=1, max_bytes=10_000) as client:
        with client.connect() as connection:
            connection.sendall(head + bytes(9000))
            client.wait_for("parckit_uploads 1.0")
            sleep(0.1)  # the bytes come right behind the head
            reply = client.predict(GOOD)
            assert (reply.status, int(reply.headers["retry-after"]) >= 1) == (503, True)
            assert "arriving" in reply.error
        client.wait_for("parckit_uploads 0.0")
        assert client.predict(GOOD).status == 200


@pytest.mark.parametrize(
    ("status", "call"),
    [
        (415, lambda client: client.predict(GOOD, Content_Encoding="gzip")),
        (400, lambda client: client.predict(GOOD, query="?answer=mask")),
        (422, lambda client: client.predict(GOOD, query="?answer=poem")),
        (404, lambda client: client.get("/nothing")),
        (405, lambda client: client.get("/predict")),
    ],
)
def test_other_mistakes_are_told_in_one_line(client, status, call):
    reply = call(client)
    assert reply.status == status
    assert reply.error


def test_bytes_that_are_no_http_are_refused(client):
    with client.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50))  # how TLS begins
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_the_excess_is_refused_at_once_and_the_others_are_answered():
    session = GateSession(batch_size=1)
    with serving(session, queue=3) as client, ThreadPoolExecutor(3) as pool:
        session.gate.clear()
        accepted = [pool.submit(client.predict, GOOD) for _ in range(3)]
        client.wait_for("parckit_accepted 3.0")
        start = perf_counter()
        refused = [client.predict(GOOD) for _ in range(5)]
        # The network is stuck, so a refusal that waited for it would wait for ever. A second is far more than it takes.
        assert perf_counter() - start < 1
        assert {reply.status for reply in refused} == {503}
        assert all(int(reply.headers["retry-after"]) >= 1 and reply.error for reply in refused)
        assert client.get("/healthz").status == client.get("/readyz").status == 200
        session.gate.set()
        assert [reply.result().status for reply in accepted] == [200, 200, 200]
        assert client.predict(GOOD).status == 200


def test_a_client_that_has_gone_is_not_answered():
    session = GateSession(batch_size=1)
    with serving(session, decoders=1) as client, ThreadPoolExecutor(2) as pool:
        session.gate.clear()
        answered = [pool.submit(client.predict, GOOD) for _ in range(2)]  # as many as there are threads
        client.wait_for("parckit_accepted 2.0")
        with client.connect() as connection:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
            connection.sendall(head + GOOD)
            client.wait_for("parckit_accepted 3.0")
        session.gate.set()
        assert [reply.result().status for reply in answered] == [200, 200]
        client.wait_for('parckit_responses_total{status="499"} 1.0')
    assert session.batches == [1, 1, 1]  # the first one warmed it up
