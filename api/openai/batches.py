"""/v1/batches: files of requests, worked through as jobs."""

from __future__ import annotations

import time
from contextlib import ExitStack

from flask import Blueprint, Response

from distilq.batches import Batch, BatchStatus, Head, new_batch_id
from distilq.errors import BatchAlreadyFinished, InvalidParameters
from distilq.files import File

from ..answers import as_json, first_known
from ..batches.results import Results
from ..bodies import parse_body, parse_query
from ..context import kept, library, owner, settings
from ..once import once
from ..waiting import no_use_in_waiting, slot
from .file_schemas import (
    BatchList,
    BatchObject,
    CreateBatchRequest,
    LineErrors,
    PageQuery,
    ResultsQuery,
    seconds,
)

blueprint = Blueprint("openai_batches", __name__)


@blueprint.post("/v1/batches")
def create() -> Response:
    head = _head(parse_body(CreateBatchRequest, settings().max_body_bytes))
    _refuse_answers(library().files.get(head.input_file_id))
    known = once()
    if not library().batches.create(head) and known is not None:
        known.replayed = True
    return as_json(_shown(library().batches.get(head.id)))


@blueprint.get("/v1/batches")
def page() -> Response:
    query = parse_query(PageQuery)
    found, more = library().batches.page(query.limit, query.after)
    first, last = (found[0].id, found[-1].id) if found else (None, None)
    data = [_shown(batch) for batch in found]
    return as_json(BatchList(data=data, first_id=first, last_id=last, has_more=more))


@blueprint.get("/v1/batches/<batch_id>")
def get(batch_id: str) -> Response:
    return as_json(_shown(library().batches.get(batch_id)))


@blueprint.post("/v1/batches/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    batch = library().batches.cancel(batch_id)
    if batch.status.final and batch.status is not BatchStatus.CANCELLED:
        raise BatchAlreadyFinished(f"it is {batch.status.value}")
    return as_json(_shown(batch))


@blueprint.get("/v1/batches/<batch_id>/results")
def results(batch_id: str) -> Response:
    query = parse_query(ResultsQuery)
    with ExitStack() as held:
        held.enter_context(slot())
        found = Results(library(), batch_id, no_use_in_waiting())
        rows = kept(first_known(found.rows(query.order, follow=query.follow)))
        response = Response(rows, content_type="application/jsonl")
        response.call_on_close(held.pop_all().close)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold rows back
    return response


def _refuse_answers(file: File) -> None:
    if file.purpose != "batch":
        detail = f"has the purpose {file.purpose}; only files of the purpose batch are run"
        entry = {"pointer": "#/input_file_id", "code": "not_offered", "detail": detail}
        raise InvalidParameters(errors=[entry])


def _head(asked: CreateBatchRequest) -> Head:
    known, now = once(), int(time.time())
    expires_at = now + seconds(asked.completion_window)
    return Head(
        id=new_batch_id(owner().id, known.key if known else None),
        fingerprint=known.fingerprint if known else "",
        endpoint=asked.endpoint,
        input_file_id=asked.input_file_id,
        completion_window=asked.completion_window,
        metadata=asked.metadata or {},
        created_at=now,
        expires_at=expires_at,
        known_until=expires_at + settings().file_ttl_s,
    )


def _shown(batch: Batch) -> BatchObject:
    head, times = batch.head, batch.times
    return BatchObject(
        id=head.id,
        endpoint=head.endpoint,
        errors=LineErrors(data=batch.errors) if batch.errors else None,
        input_file_id=head.input_file_id,
        completion_window=head.completion_window,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=head.created_at,
        in_progress_at=times.get(BatchStatus.IN_PROGRESS),
        expires_at=head.expires_at,
        finalizing_at=times.get(BatchStatus.FINALIZING),
        completed_at=times.get(BatchStatus.COMPLETED),
        failed_at=times.get(BatchStatus.FAILED),
        expired_at=times.get(BatchStatus.EXPIRED),
        cancelling_at=times.get(BatchStatus.CANCELLING),
        cancelled_at=times.get(BatchStatus.CANCELLED),
        request_counts=batch.counts,
        metadata=head.metadata or None,
    )
