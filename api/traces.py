"""The API's part of traces: a span per request, those of probes left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

from distilq.logs import TRACEPARENT

from .logs import job_id_of, route_of

if TYPE_CHECKING:
    from distilq.spans import Traces

#: Probes and scrapes.
UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})


def install(app: Flask, traces: Traces) -> None:
    # Not at the top: it loads OpenTelemetry, which only those have who want traces.
    from distilq.spans import answered, traceparent

    def begin() -> None:
        TRACEPARENT.set("")  # of the request that this thread served before
        if request.path in UNTRACED:
            return
        known = {name: request.headers.get(name, "") for name in ("traceparent", "tracestate")}
        g.span = traces.serving(request.method, request.scheme, request.path, route_of(), known)
        TRACEPARENT.set(traceparent(g.span))

    def end(response: Response) -> Response:
        if (span := g.get("span")) is not None:
            answered(span, response.status_code, job_id_of(response))
            response.call_on_close(span.end)  # when the last of a stream has been written, too
        return response

    app.extensions["distilq.traces"] = traces
    app.before_request(begin)
    app.after_request(end)
