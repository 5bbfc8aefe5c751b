"""The API's part of the log: a line per request, at the level info."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from distilq.logs import REQUEST_ID

from .context import request_id

log = logging.getLogger("distilq.api")


def install(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began_at = time.monotonic()
    REQUEST_ID.set(request_id())


def _end(response: Response) -> Response:
    if log.isEnabledFor(logging.INFO):
        route = route_of() or "none"
        took_ms = round(1000 * (time.monotonic() - g.began_at), 3)
        facts = {
            "method": request.method,
            "route": route,
            "status": response.status_code,
            "duration_ms": took_ms,
        }
        if job_id := job_id_of(response):
            facts["job_id"] = job_id
        words = "%s %s %d %.3f ms"
        log.info(words, request.method, route, response.status_code, took_ms, extra=facts)
    return response


def route_of() -> str:
    """The route of this request; nothing where there is none."""
    return request.url_rule.rule if request.url_rule else ""


def job_id_of(response: Response) -> str:
    """The job that a request was about, if it was about one."""
    known: str | None = response.headers.get("X-Job-Id") or (request.view_args or {}).get("job_id")
    return known or response.headers.get("Location", "").rpartition("/")[2]
