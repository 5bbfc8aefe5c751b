"""The application factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response

from distilq.access import Ring
from distilq.archive import Library
from distilq.settings import Settings
from distilq.store import Jobs

from . import (
    admin,
    auth,
    context,
    dead,
    deliveries,
    events,
    job,
    jobs,
    logs,
    me,
    metrics,
    once,
    pages,
    problems,
    score,
    sites,
    stats,
    status,
    traces,
)
from .live import Live
from .openai import batches, completions, files, models
from .openai import errors as openai_errors
from .tgi import errors as tgi_errors
from .tgi import routes as tgi

if TYPE_CHECKING:
    from distilq.spans import Traces

#: Of what is no page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

#: Of every response.
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


def create_app(
    settings: Settings,
    store: Jobs,
    ring: Ring | None = None,
    library: Library | None = None,
    tracer: Traces | None = None,
) -> Flask:
    """The HTTP API over `store`, for the keys of `ring`, with the files and batches of `library`.

    Raises:
        ValueError: there is no ring, and the settings do not say that keys are off.
    """
    app = Flask(__name__, static_folder=None, template_folder="web")
    # A doubled slash is another address, not a redirect with a page of HTML.
    app.url_map.merge_slashes = False
    context.install(app, settings, store, library)
    app.extensions["distilq.live"] = Live(store)
    logs.install(app)
    if tracer is not None:
        traces.install(app, tracer)
    problems.install(app)
    auth.install(app, settings.auth, ring)
    sites.install(app)
    openai_errors.install(app)
    tgi_errors.install(app)
    own = (jobs, job, events, deliveries, score, me, status, stats, metrics, admin, dead, pages)
    for part in (*own, completions, models, files, batches, tgi):
        app.register_blueprint(part.blueprint)
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers.extend([("X-Request-Id", context.request_id()), *HEADERS])
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    auth.add_quota(response)
    once.add_replayed(response)
    return response
