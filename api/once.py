"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a request that is sent twice.

A key belongs to whoever sends it and to the method and path that it is sent to. It stands for one
submission: what a request submits beyond its first job is not known by it.
"""

from __future__ import annotations

import hashlib
import re

from flask import Response, g, request

from distilq.errors import InvalidIdempotencyKey
from distilq.jobs import Job, JobRequest
from distilq.once import Once

from .auth import spend
from .context import store

HEADER = "Idempotency-Key"

#: A string as RFC 8941 (3.3.3) has it, or the same without its quotes, as many clients send it.
#: Without them neither `,` nor `;` can be in it: they would begin another key, or parameters.
KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"|([!#-+\--:<-\[\]-~]{1,255})')


def take_fingerprint(body: bytes) -> None:
    """Remember what `once` needs of a body. Method and path belong to the key already."""
    if HEADER in request.headers:
        g.fingerprint = hashlib.sha256(body).hexdigest()


def once() -> Once | None:
    """The request's key with its fingerprint, once the body has been read; None if it has none.

    Raises:
        InvalidIdempotencyKey: the header is none of its two forms.
    """
    if HEADER not in request.headers:
        return None
    found: Once | None = g.get("once")
    if found is None:
        place = f"{request.method} {request.path}"
        found = g.once = Once(key=f"{place} {_key()}", fingerprint=g.fingerprint)
    return found


def recall() -> list[str] | None:
    """The ids of what this request has submitted already; None if it has no key or was not here.

    Raises what `once` and `Jobs.recall` do.
    """
    known = once()
    return None if known is None else store().recall(known)


def submit_once(asked: JobRequest) -> Job:
    """The job that this request has made before, if it bears a key; else a new one.

    Only a new one is taken from the rate. Raises what `recall`, `spend` and `Jobs.submit` do.
    """
    if ids := recall():
        return store().get(ids[0])
    spend(1)
    return store().submit(asked, once())


def add_replayed(response: Response) -> None:
    known: Once | None = g.get("once")
    if known is not None and known.replayed:
        response.headers["Idempotency-Replayed"] = "true"


def _key() -> str:
    match = KEY.fullmatch(request.headers[HEADER])
    if match is None:
        detail = "must be a string of 1 to 255 printable ASCII characters, in double quotes"
        entry = {"header": HEADER, "code": "invalid", "detail": detail}
        raise InvalidIdempotencyKey(f"{HEADER} {detail}", errors=[entry])
    return re.sub(r"\\(.)", r"\1", match[1]) if match[1] else match[2]
