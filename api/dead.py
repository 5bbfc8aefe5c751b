"""/v1/dead: jobs that killed their workers, for keys with the admin scope."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.deaths import ENTRY_ID
from distilq.errors import NotOnDeadList

from .answers import as_job, as_json, nothing
from .bodies import parse_query
from .context import store
from .schemas import DeadQuery

blueprint = Blueprint("dead", __name__, url_prefix="/v1/dead")


@blueprint.get("")
def page() -> Response:
    query = parse_query(DeadQuery)
    with_texts = query.include == "request"
    return as_json(store().dead().page(query.limit, query.cursor, with_texts=with_texts))


@blueprint.post("/<entry_id>:requeue")
def requeue(entry_id: str) -> Response:
    job = store().dead().requeue(_checked(entry_id))
    response = as_job(job, 202)
    response.headers["Location"] = job.urls.self
    return response


@blueprint.delete("/<entry_id>")
def drop(entry_id: str) -> Response:
    store().dead().drop(_checked(entry_id))
    return nothing()


def _checked(entry_id: str) -> str:
    if not ENTRY_ID.fullmatch(entry_id):
        raise NotOnDeadList("an id is that of a job, or message- and 40 hexadecimal digits")
    return entry_id
