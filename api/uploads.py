"""Uploads (multipart/form-data, RFC 7578): from the socket into the storage, block by block."""

from __future__ import annotations

import io
import re
import time
from typing import IO, Any, cast

from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser

from distilq.errors import InvalidParameters, PayloadTooLarge, UnsupportedMediaType
from distilq.files import File, new_file_id
from distilq.storage import Writer

from .bodies import reading_body, refuse_encoded
from .context import library, settings

#: Beside the file: boundaries, headers, other fields. Werkzeug's parser takes it for the most that
#: it may hold of anything, and reads 64 KiB at once.
ENVELOPE_BYTES = 262_144

MAX_FILENAME = 255

EXPIRY = "expires_after[seconds]"
ANCHOR = "expires_after[anchor]"
FIELDS = frozenset({"purpose", ANCHOR, EXPIRY})


class _Sink(io.RawIOBase):
    """What Werkzeug's parser writes the file to."""

    def __init__(self, file: Writer, most: int) -> None:
        self._file, self._most = file, most
        self.size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        if self.size > self._most:
            raise PayloadTooLarge(f"at most {self._most} bytes", max_bytes=self._most)
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """The parser goes back to the beginning for those who read; nobody does."""
        return 0


def received() -> File:
    """The file of this request, its bytes in the storage; nothing of them if this raises.

    Raises:
        UnsupportedMediaType, MalformedBody, BodyTooSlow, PayloadTooLarge: the body is at fault.
        InvalidParameters: a field of the form is.
        StorageUnavailable: its bytes cannot be kept.
    """
    if request.mimetype != "multipart/form-data" or not request.mimetype_params.get("boundary"):
        raise UnsupportedMediaType("send Content-Type: multipart/form-data, with a boundary")
    refuse_encoded()
    file_id, most = new_file_id(), settings().max_file_bytes
    path = f"uploads/{file_id}"
    with library().storage.write(path) as out:
        sink = _Sink(out, most)
        form, filename = _parsed(sink, most)
        ttl_s = _checked(form)
    now = int(time.time())
    return File(
        id=file_id,
        filename=filename,
        purpose="batch",
        bytes=sink.size,
        created_at=now,
        expires_at=now + ttl_s,
        parts=(path,),
    )


def _parsed(sink: _Sink, most: int) -> tuple[MultiDict[str, str], str]:
    """The fields of the form, and the name of its file."""
    begun: list[str] = []

    def begin(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if begun:
            raise _invalid("file", "conflict", "must be the only file")
        begun.append((filename or "upload")[:MAX_FILENAME])
        return cast(IO[bytes], sink)

    parser = FormDataParser(
        begin, max_form_memory_size=ENVELOPE_BYTES, max_form_parts=10, silent=False
    )
    try:
        with reading_body(most + ENVELOPE_BYTES):
            _, form, files = parser.parse(
                request.stream, request.mimetype, request.content_length, request.mimetype_params
            )
    except PayloadTooLarge:
        detail = f"at most {most} bytes, and {ENVELOPE_BYTES} beside the file in a few fields"
        raise PayloadTooLarge(detail, max_bytes=most) from None
    if "file" not in files:
        raise _invalid("file", "missing", "is required, with a file name")
    return form, begun[0]


def _checked(form: MultiDict[str, str]) -> int:
    """Seconds for which the file is to be kept."""
    for name, values in form.lists():
        if name not in FIELDS:
            raise _invalid(name, "unknown_field", "there is no such field")
        if len(values) > 1:
            raise _invalid(name, "conflict", "is given twice")
    if form.get("purpose") != "batch":
        code = "not_offered" if "purpose" in form else "missing"
        raise _invalid("purpose", code, "must be batch")
    if form.get(ANCHOR, "created_at") != "created_at":
        raise _invalid(ANCHOR, "not_offered", "must be created_at")
    most = settings().file_ttl_s
    if EXPIRY not in form:
        return most
    given = form[EXPIRY]
    if not re.fullmatch("[1-9][0-9]{0,9}", given) or int(given) > most:
        raise _invalid(EXPIRY, "out_of_range", f"must be >= 1 and <= {most}")
    return int(given)


def _invalid(field: str, code: str, detail: str) -> InvalidParameters:
    return InvalidParameters(errors=[{"pointer": f"#/{field}", "code": code, "detail": detail}])
