"""/v1/me: what the holder of a key may do, so that a page knows what to offer."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, Response

from distilq.access import Scope

from . import auth
from .answers import as_json
from .context import owner
from .schemas import Me

blueprint = Blueprint("me", __name__)


@blueprint.get("/v1/me")
def me() -> Response:
    key = auth.shown()
    scopes = get_args(Scope) if key is None else key.scopes
    return as_json(
        Me(
            id=key and key.id,
            name=key and key.name,
            owner=owner().id,
            scopes=scopes,
            admin="admin" in scopes,
            keys_required=auth.required(),
        )
    )
