"""/v1/jobs/{id}/deliveries and /redeliver: how telling a job's webhook goes."""

from __future__ import annotations

from flask import Blueprint, Response

from .answers import as_json
from .auth import spend
from .context import store
from .job import refuse_other_ids

blueprint = Blueprint("deliveries", __name__, url_prefix="/v1/jobs/<job_id>")
blueprint.before_request(refuse_other_ids)


@blueprint.get("/deliveries")
def deliveries(job_id: str) -> Response:
    return as_json(store().deliveries(job_id))


@blueprint.post("/redeliver")
def redeliver(job_id: str) -> Response:
    store().get(job_id)
    spend(1)  # as a submission: each is a request to somebody else
    return as_json(store().redeliver(job_id), 202)
