"""/v1/jobs/{id}/deliveries and /redeliver: how telling a job's webhook goes."""

from __future__ import annotations

from flask import Blueprint, Response

from .answers import as_json
from .context import store
from .job import refuse_other_ids

blueprint = Blueprint("deliveries", __name__, url_prefix="/v1/jobs/<job_id>")
blueprint.before_request(refuse_other_ids)


@blueprint.get("/deliveries")
def deliveries(job_id: str) -> Response:
    return as_json(store().deliveries(job_id))


@blueprint.post("/redeliver")
def redeliver(job_id: str) -> Response:
    return as_json(store().redeliver(job_id), 202)
