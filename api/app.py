"""The application factory."""

from __future__ import annotations

from flask import Flask, Response

from distilq.settings import Settings
from distilq.store import Jobs

from . import context, job, jobs, pages, problems, score, status

#: Nothing but our own style sheet and an empty icon; no script anywhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(settings: Settings, store: Jobs) -> Flask:
    """The HTTP API over `store`."""
    app = Flask(__name__, static_folder=None, template_folder="web")
    # A doubled slash is another address, not a redirect with a page of HTML.
    app.url_map.merge_slashes = False
    context.install(app, settings, store)
    problems.install(app)
    for part in (jobs, job, score, status, pages):
        app.register_blueprint(part.blueprint)
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-Id"] = context.request_id()
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "no-store")
    return response
