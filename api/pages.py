"""The pages: /, its style sheet, and the OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path

from flask import Blueprint, Response, render_template, request

from distilq.cluster import ServedModel
from distilq.errors import StoreUnavailable

from .answers import unless_known
from .auth import required
from .openapi import document
from .status import MODEL_CARD, served_models

blueprint = Blueprint("pages", __name__)

WEB = Path(__file__).parent / "web"


@blueprint.get("/")
def index() -> str:
    serving: list[ServedModel] | None
    try:
        serving = served_models()
    except StoreUnavailable:
        serving = None
    root = request.host_url.rstrip("/")
    return render_template(
        "index.html", serving=serving, card=MODEL_CARD, root=root, keys=required()
    )


@blueprint.get("/style.css")
def style() -> Response:
    text = (WEB / "style.css").read_text(encoding="utf-8")
    return unless_known(Response(text, mimetype="text/css"))


@blueprint.get("/openapi.json")
def openapi() -> Response:
    return Response(json.dumps(document(), ensure_ascii=False), content_type="application/json")
