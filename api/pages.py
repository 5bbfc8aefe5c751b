"""The pages: to write with, the dashboard, /about; what they load, and the OpenAPI document."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from flask import Blueprint, Response, render_template, request

from distilq.cluster import ServedModel
from distilq.errors import NotFound, StoreUnavailable

from .answers import unless_known
from .auth import required
from .openapi import document
from .status import MODEL_CARD, served_models

blueprint = Blueprint("pages", __name__)

WEB = Path(__file__).parent / "web"
TYPES = {".js": "text/javascript", ".css": "text/css"}
FILES = {
    each.relative_to(WEB).as_posix(): each.read_bytes()
    for each in WEB.rglob("*")
    if each.suffix in TYPES
}
#: A part of their addresses: what a browser has kept is never that of another release.
VERSION = hashlib.sha256(repr(sorted(FILES.items())).encode()).hexdigest()[:16]

#: What a page loads is its own; what it sends goes to this service. No code or style is inline.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)


@blueprint.get("/")
def index() -> Response:
    return _page("index.html", card=MODEL_CARD)


@blueprint.get("/dashboard")
def dashboard() -> Response:
    return _page("dashboard.html")


@blueprint.get("/about")
def about() -> Response:
    serving: list[ServedModel] | None
    try:
        serving = served_models()
    except StoreUnavailable:
        serving = None
    root = request.host_url.rstrip("/")
    return _page("about.html", serving=serving, card=MODEL_CARD, root=root, keys=required())


@blueprint.get("/web/<version>/<name>")
@blueprint.get("/web/<version>/<folder>/<name>")
def web(version: str, name: str, folder: str = "") -> Response:
    found = FILES.get(f"{folder}/{name}" if folder else name)
    if found is None:
        raise NotFound
    response = unless_known(Response(found, content_type=TYPES[Path(name).suffix]))
    if version == VERSION:  # else it is that of another release, during an upgrade say
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@blueprint.get("/openapi.json")
def openapi() -> Response:
    return Response(json.dumps(document(), ensure_ascii=False), content_type="application/json")


def _page(name: str, **values: object) -> Response:
    response = Response(render_template(name, version=VERSION, **values), mimetype="text/html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
