"""Errors -> `application/problem+json` (RFC 9457). No other kind of error body leaves the API."""

from __future__ import annotations

import json
import logging
import math
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug import exceptions as http

from distilq import errors

from .context import request_id

log = logging.getLogger("distilq.api")

PROBLEM_JSON = "application/problem+json"

#: Seconds after which trying again makes sense, where the error does not know better.
RETRY_AFTER_S = {
    errors.IdempotencyInFlight: 1,
    errors.JobNotFinished: 1,
    errors.NoWorker: 5,
    errors.StoreUnavailable: 2,
    errors.StoreFull: 10,
}


def install(app: Flask) -> None:
    app.register_error_handler(errors.DistilqError, answer)
    app.register_error_handler(errors.StoreUnavailable, _store_unavailable)
    app.register_error_handler(http.NotFound, _not_found)
    app.register_error_handler(http.MethodNotAllowed, _method_not_allowed)
    app.register_error_handler(http.HTTPException, _other_http_error)
    app.register_error_handler(Exception, _unexpected)


def answer(error: errors.DistilqError) -> Response:
    """The error as a response, with Retry-After where trying again makes sense."""
    response = from_problem(error.problem())
    wait = error.members.get("retry_after_s", RETRY_AFTER_S.get(type(error)))
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return response


def from_problem(problem: dict[str, Any]) -> Response:
    """A problem object as the response to this request."""
    body = {**problem, "instance": f"urn:request:{quote(request_id(), safe='')}"}
    text = json.dumps(body, ensure_ascii=False) + "\n"
    response = Response(text, problem["status"], content_type=PROBLEM_JSON)
    if "job_id" in problem:
        response.headers["X-Job-Id"] = problem["job_id"]
    return response


def _store_unavailable(error: errors.StoreUnavailable) -> Response:
    """Where Redis is and why it does not answer is for the log alone."""
    log.warning("%s: %s, request %s", error.title, error.detail, request_id())
    return answer(errors.StoreUnavailable(**error.members))


def _not_found(_: http.NotFound) -> Response:
    return answer(errors.NotFound())


def _method_not_allowed(error: http.MethodNotAllowed) -> Response:
    methods = ", ".join(sorted(error.valid_methods or ()))
    response = answer(errors.MethodNotAllowed(f"allowed here: {methods}"))
    response.headers["Allow"] = methods
    return response


def _other_http_error(error: http.HTTPException) -> Response:
    """What Flask or Werkzeug found wrong with the request before any of our code ran."""
    status = error.code or 500
    title = http.default_exceptions.get(status, http.HTTPException)().name
    return from_problem(
        {"type": "about:blank", "title": title, "status": status, "retryable": False}
    )


def _unexpected(error: Exception) -> Response:
    """A mistake of ours: a traceback in the log, nothing of it in the answer."""
    where = f"{request.method} {request.url_rule} failed, request {request_id()}"
    if isinstance(error, ValidationError):
        # Its message quotes the value, which may be a prompt.
        log.error("%s: %s", where, error.errors(include_input=False, include_context=False))
    else:
        log.error(where, exc_info=error)
    return answer(errors.DistilqError())
