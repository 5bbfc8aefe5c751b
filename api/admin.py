"""/v1/queue and /v1/workers, for keys with the admin scope: pause, purge, drain, resume."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.jobs import Priority

from .answers import as_json
from .bodies import parse_body
from .context import settings, store
from .schemas import Paused, PriorityRequest, Purged

blueprint = Blueprint("admin", __name__)


@blueprint.post("/v1/queue:pause")
def pause() -> Response:
    for priority in _priorities():
        store().pause(priority)
    return _paused()


@blueprint.post("/v1/queue:resume")
def resume() -> Response:
    for priority in _priorities():
        store().resume(priority)
    return _paused()


@blueprint.post("/v1/queue:purge")
def purge() -> Response:
    return as_json(Purged(removed=sum(store().purge(priority) for priority in _priorities())))


@blueprint.post("/v1/workers/<worker_id>:drain")
def drain_worker(worker_id: str) -> Response:
    return as_json(store().drain_worker(worker_id))


@blueprint.post("/v1/workers/<worker_id>:resume")
def resume_worker(worker_id: str) -> Response:
    return as_json(store().resume_worker(worker_id))


def _priorities() -> list[Priority]:
    """The one that the body names, or all."""
    named = parse_body(PriorityRequest, settings().max_body_bytes).priority
    return [*Priority] if named is None else [named]


def _paused() -> Response:
    return as_json(Paused(paused=store().queue().paused))
