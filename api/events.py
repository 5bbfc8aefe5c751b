"""GET /v1/jobs/{id}/events: a job as it happens, as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, request

from distilq.errors import GenerationFailed, InvalidParameters
from distilq.events import Came, Ended, Event, Place, Stands
from distilq.jobs import Job, JobStatus

from .context import store
from .job import refuse_other_ids
from .sse import event_stream, message

blueprint = Blueprint("events", __name__, url_prefix="/v1/jobs/<job_id>")
blueprint.before_request(refuse_other_ids)

_quoted = json.encoder.encode_basestring_ascii

#: The id of the last event. A client that knows it has all there is.
LAST = "end"


@blueprint.get("/events")
def events(job_id: str) -> Response:
    known = request.headers.get("Last-Event-ID", "")
    if known == LAST:
        store().get(job_id)
        return Response(status=204)  # what tells a browser not to come again
    return event_stream(job_id, _place(known), _shown)


def _place(known: str) -> Place | None:
    place = Place.parse(known)
    if known and place is None:
        detail = "is the id of no event"
        entry = {"header": "Last-Event-ID", "code": "invalid", "detail": detail}
        raise InvalidParameters(f"Last-Event-ID {detail}", errors=[entry])
    return place


def _shown(events: list[Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, Came):
            yield _token(event)
        elif isinstance(event, Stands):
            yield message("status", json.dumps(_standing(event)))
        else:
            yield _end(event)


def _token(event: Came) -> str:
    """A token's event; with what nearly all of them are made of as `json.dumps` has it, sooner."""
    place, token = event.place, event.token
    if token.finish_reason is None and token.logprob is None:
        data = (
            f'{{"input": {token.input}, "sequence": {token.sequence}, "index": {token.index},'
            f' "id": {token.id}, "text": {_quoted(token.text)}}}'
        )
    else:
        data = json.dumps(token.shown())
    return f"event: token\nid: {place.fence}-{place.number}\ndata: {data}\n\n"


def _standing(event: Stands) -> dict[str, Any]:
    job = event.job
    found: dict[str, Any] = {"status": job.status.value, "attempt": job.attempt}
    if job.status is JobStatus.QUEUED:
        found |= {"position": job.queue.position, "eta_s": job.queue.eta_s}
    return found | ({"restarted": True} if event.restarted else {})


def _end(event: Ended) -> str:
    job = event.job
    if job.status is JobStatus.SUCCEEDED:
        return message("done", job.model_dump_json(ensure_ascii=True), LAST)
    return message("error", json.dumps(_problem(job)), LAST)


def _problem(job: Job) -> dict[str, Any]:
    problem = job.error or GenerationFailed().problem()
    return {**problem, "job_id": job.id, "job_status": job.status.value}
