"""Request bodies and query strings -> the models of `distilq.jobs`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import jiter
from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from distilq.errors import (
    BodyTooSlow,
    DistilqError,
    InvalidParameters,
    MalformedBody,
    PayloadTooLarge,
    UnsupportedMediaType,
)

from . import once
from .context import settings
from .invalid import body_error, malformed, query_error

log = logging.getLogger("distilq.api")

Model = TypeVar("Model", bound=BaseModel)


def parse_body(model: type[Model], max_bytes: int) -> Model:
    """The JSON body as a `model`."""
    return parse(model, json_body(max_bytes))


def json_body(max_bytes: int) -> bytes:
    """The body as it came, which says that it is JSON."""
    _require_json()
    body = _raw_body(max_bytes)
    once.take_fingerprint(body)
    return body


def parse(model: type[Model], body: bytes) -> Model:
    _refuse_equal_keys(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise body_error(error, model) from None


def parse_query(model: type[Model]) -> Model:
    """The query string as a `model`; a parameter given twice is an error."""
    given = request.args.to_dict(flat=False)
    twice = [name for name, values in given.items() if len(values) > 1]
    if twice:
        entries = [
            {"parameter": name, "code": "conflict", "detail": "is given twice"} for name in twice
        ]
        raise InvalidParameters(errors=entries)
    try:
        return model.model_validate({name: values[0] for name, values in given.items()})
    except ValidationError as error:
        raise query_error(error, model) from None


def _require_json() -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("send Content-Type: application/json, in UTF-8")
    refuse_encoded()


def refuse_encoded() -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without Content-Encoding")


def _refuse_equal_keys(body: bytes) -> None:
    """pydantic takes the last of two equal keys, others the first: who wrote both is asked."""
    try:
        jiter.from_json(body, catch_duplicate_keys=True, cache_mode="none")
    except ValueError as error:
        if "duplicate key" in str(error):  # whatever else is wrong, pydantic says too
            raise malformed(str(error)) from None


def _raw_body(max_bytes: int) -> bytes:
    with reading_body(max_bytes):
        body = request.get_data(cache=False)
        if len(body) > max_bytes:
            raise RequestEntityTooLarge
    return body


@contextmanager
def reading_body(max_bytes: int) -> Iterator[None]:
    """Read the body of this request within; what goes wrong then is an error of ours.

    Raises:
        PayloadTooLarge, MalformedBody, BodyTooSlow.
    """
    # One more than allowed: Werkzeug cuts a chunked body at its limit without a word.
    request.max_content_length = max_bytes + 1
    try:
        yield
    except DistilqError:
        raise
    except RequestEntityTooLarge:
        raise PayloadTooLarge(f"at most {max_bytes} bytes", max_bytes=max_bytes) from None
    except Exception as error:  # each server has errors of its own, of broken chunks for one
        # Werkzeug makes a lost client of every OSError, that of the socket's own limit among them.
        if isinstance(error.__context__, (BlockingIOError, TimeoutError)):
            raise BodyTooSlow(f"nothing for {settings().max_silence_s} s") from None
        log.info("a body cannot be read: %r", error)
        raise MalformedBody from None
