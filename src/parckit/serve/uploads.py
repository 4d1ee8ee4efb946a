"""The picture in the body of a request: reading with limits, and forms."""

import asyncio
from math import inf
from typing import final

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from parckit.contract import InputError
from parckit.serve.access import Admission
from parckit.serve.metrics import Meters
from parckit.serve.settings import ServeSettings

_MULTIPART = b"multipart/form-data"
_BODY = "request body"
"""What errors call a picture without a file name."""
_ONE_FILE = "send one, as curl -F image=@photo.jpg does"
_MOST_FIELDS = 20
"""Most fields of a form beside its file. They are ignored, but some programs send a few."""
_LONGEST_NAME = 100
"""Characters of a file's name, counted from its end, that errors show: clients may send any text."""


@final
class Uploads:
    """Reads the bodies of requests. All calls come from the server's event loop.

    A slow client holds no place among the accepted requests. Bodies that are arriving are limited by their bytes: all
    of them together may hold as many as a full queue.

    Args:
        settings: limits.
        admission: says when a client may try again.
        meters: show the number of uploads.
    """

    def __init__(self, settings: ServeSettings, *, admission: Admission, meters: Meters) -> None:
        self._most = settings.max_bytes
        self._seconds = settings.upload_seconds
        self._room = settings.queue * settings.max_bytes
        self._admission = admission
        self._meters = meters

    async def read(self, request: Request) -> bytes:
        """Return the body of a request.

        Raises:
            HTTPException: if there are too many bytes (413), they take too long (408), they are compressed (415), or
                there is no room for them (503).
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise HTTPException(415, f"content-encoding: {coding!r:.40}; send the picture's file as it is")
        # A client that waits for "100 Continue" gets this answer before it sends anything.
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._most:
            raise self._too_large()
        body = bytearray()
        with self._meters.uploads.track_inprogress():
            try:
                await asyncio.wait_for(self._fill(body, request), self._seconds)
            except asyncio.TimeoutError:
                reason = f"the request's bytes took longer than {self._seconds:g} seconds"
                raise HTTPException(408, reason) from None
            finally:
                self._room += len(body)
        return bytes(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        async for chunk in request.stream():
            if len(body) + len(chunk) > self._most:
                raise self._too_large()
            if len(chunk) > self._room:
                raise self._admission.busy("too many pictures are arriving")
            self._room -= len(chunk)
            body += chunk

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request has more than {self._most} bytes; send a smaller file")


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
    if b"boundary" not in parameters:
        raise InputError("form: its content type names no boundary")
    files: list[File] = []
    fields: list[Field] = []

    # Every part costs time, so the first one too many ends the reading.
    def add_file(file: File) -> None:
        files.append(file)
        if len(files) > 1:
            raise InputError(f"form: holds more than one file; {_ONE_FILE}")

    def add_field(field: Field) -> None:
        fields.append(field)
        if len(fields) > _MOST_FIELDS:
            raise InputError(f"form: holds more than {_MOST_FIELDS} fields; {_ONE_FILE}")

    # Nothing is written to disk: the body is in memory already, and has passed its limit.
    config = {"MAX_MEMORY_FILE_SIZE": inf}
    try:
        parser = FormParser(kind.decode(), add_field, add_file, boundary=parameters[b"boundary"], config=config)
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise InputError(f"form: is damaged ({error})") from error
    if not files:
        raise InputError(f"form: holds no complete file; {_ONE_FILE}")
    files[0].file_object.seek(0)
    name = (files[0].file_name or b"").decode(errors="replace")[-_LONGEST_NAME:]
    return files[0].file_object.read(), name or _BODY
