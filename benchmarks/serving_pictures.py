"""What `serving.py` sends: photos, drawings, forms, large pictures, and files that a server must refuse."""

import io
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from http_load import Request

SEED = 0
PHOTO = (Path(__file__).parents[1] / "docs" / "bccd.jpg").read_bytes()
LARGE_SIDE = 8000
"""Pixels of both sides of the large picture: 64 million in all, the most that a server takes by default."""
_LARGE_SHARE = 1 / 200
"""A large picture takes as long as some dozens of photos."""
_FORM_TYPE = "multipart/form-data; boundary=line"
_FILE_PART = b'--line\r\nContent-Disposition: form-data; name=image; filename="a.jpg"\r\n\r\n%s\r\n'


def photos() -> Iterator[Request]:
    """Yield the photo again and again."""
    return itertools.repeat(Request(PHOTO))


def large_picture() -> bytes:
    """Return the photo, enlarged."""
    return encode(Image.open(io.BytesIO(PHOTO)).resize((LARGE_SIDE, LARGE_SIDE)))


def mixture() -> Iterator[Request]:
    """Yield pictures of many sizes, some drawings and forms, and every fifth time a file that must be refused."""
    draw = random.Random(SEED)  # noqa: S311  # no secret
    photo, large = Image.open(io.BytesIO(PHOTO)), large_picture()
    sizes = [encode(photo.resize((width, width * 3 // 4))) for width in (40, 200, 640, 1000, 1600)]
    refused = hostile(photo)
    while True:
        if draw.random() < _LARGE_SHARE:
            yield Request(large, query=draw.choice(("", "?answer=drawing")))
        elif draw.random() < 1 / 5:
            yield draw.choice(refused)
        elif draw.random() < 1 / 5:
            yield Request(_FILE_PART % draw.choice(sizes) + b"--line--\r\n", content_type=_FORM_TYPE)
        else:
            yield Request(draw.choice(sizes), query=draw.choice(("", "", "", "?answer=drawing")))


def hostile(photo: Image.Image) -> list[Request]:
    """Return requests that must get 400."""
    bomb = bytearray(encode(Image.new("RGB", (9, 9)), "PNG"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    progressive = encode(photo, progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    files = (
        b"",
        b"no picture",
        PHOTO[: len(PHOTO) // 2],
        bytes(bomb),
        bytes(300_000),
        encode(photo, "PNG")[:-9],
        progressive[:-2] + 200 * last_scan + progressive[-2:],
    )
    forms = (10_000 * (_FILE_PART % b"") + b"--line--\r\n", _FILE_PART % PHOTO)
    return [*map(Request, files), *(Request(form, content_type=_FORM_TYPE) for form in forms)]


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
