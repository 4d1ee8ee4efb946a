"""The picture in the body of a request: reading with limits, and forms."""

import asyncio
from math import inf

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header

from parckit.contract import InputError

_MULTIPART = b"multipart/form-data"
_BODY = "request body"
"""What errors call a picture without a file name."""
_LONGEST_NAME = 100
"""Characters of a file's name, counted from its end, that errors show: clients may send any text."""


async def read_body(request: Request, *, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: the request.
        most: most bytes; they are counted while they arrive.
        seconds: how long they may take.

    Raises:
        HTTPException: if there are more bytes (413), or they take longer (408), or they are compressed (415).
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise HTTPException(415, f"content-encoding: {coding!r:.40}; send the picture's file as it is")
    # A client that waits for "100 Continue" is told before it sends anything.
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        raise _too_large(most)
    try:
        return await asyncio.wait_for(_read(request, most=most), seconds)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the request's bytes took longer than {seconds:g} seconds") from None


async def _read(request: Request, *, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the request has more than {most} bytes; send a smaller file")


def find_picture(data: bytes, content_type: str) -> tuple[bytes, str]:
    """Return the bytes of a picture's file, and what errors call it.

    Args:
        data: body of a request.
        content_type: its header. The body is a form if it begins with `multipart/form-data`, else the picture's file.

    Raises:
        InputError: if the form is damaged, or does not hold one file.
    """
    kind, parameters = parse_options_header(content_type)
    if kind != _MULTIPART:
        return data, _BODY
    # Nothing is written to disk: the body is in memory already, and has passed its limit.
    files: list[File] = []
    try:
        boundary = parameters.get(b"boundary")
        parser = FormParser(kind.decode(), None, files.append, boundary=boundary, config={"MAX_MEMORY_FILE_SIZE": inf})
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise InputError(f"form: is damaged ({error})") from error
    if len(files) != 1:
        raise InputError(f"form: holds {len(files)} complete files; send one, as curl -F image=@photo.jpg does")
    files[0].file_object.seek(0)
    name = (files[0].file_name or b"").decode(errors="replace")[-_LONGEST_NAME:]
    return files[0].file_object.read(), name or _BODY
