"""/v1/stats: the last hour; /v1/stats/events: that, and how it goes on, as server-sent events."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Blueprint, Response

from . import auth
from .context import owner
from .live import live
from .waiting import no_use_in_waiting, slot

blueprint = Blueprint("stats", __name__)


@blueprint.get("/v1/stats")
def stats() -> Response:
    return Response(live().stats() + "\n", content_type="application/json")


@blueprint.get("/v1/stats/events")
def events() -> Response:
    no_use, revoked = no_use_in_waiting(), auth.revoked()
    with ExitStack() as held:
        held.enter_context(slot())
        told = live().watch(lambda: no_use() or revoked(), as_admin=owner().sees_all)
        response = Response(told, content_type="text/event-stream")
        response.call_on_close(held.pop_all().close)  # a HEAD never begins the body
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response
