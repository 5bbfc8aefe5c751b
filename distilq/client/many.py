"""Many jobs by one request, and what the service says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from distilq.cluster import JobPage, MissingJob, WorkerState
from distilq.errors import DistilqError
from distilq.jobs import MAX_STATUS_IDS, Job, JobStatus

from .answers import parsed
from .jobs import new_key, quoted
from .options import encoded
from .retries import NEVER, Deadline, ask
from .steps import Flow, Send, Tell

#: Jobs per request of a list: the most that the service gives at once.
PAGE = "200"

Model = TypeVar("Model", bound=BaseModel)


class _Accepted(BaseModel):
    class Ref(BaseModel):
        id: str

    jobs: list[Ref]


class _Statuses(BaseModel):
    jobs: list[Job | MissingJob]


class _Workers(BaseModel):
    workers: list[WorkerState]


def batch(bodies: Sequence[Mapping[str, Any]], key: str | None = None) -> Send:
    """POST /v1/jobs:batch, with a key by which it is one submission however often it is sent."""
    header = new_key() if key is None else quoted(key)
    headers = {"Idempotency-Key": header}
    return Send("POST", "/v1/jobs:batch", encoded({"jobs": bodies}), headers=headers)


def submit_many(
    request: Send,
    retries: int,
    at_once: tuple[type[DistilqError], ...] = (),
    deadline: Deadline = NEVER,
) -> Flow[list[str]]:
    """The ids of a batch's jobs, in their order; raises errors of `at_once` at once."""
    accepted = parsed(_Accepted, (yield from ask(request, retries, deadline, at_once)))
    return [ref.id for ref in accepted.jobs]


def statuses(job_ids: Iterable[str], retries: int) -> Flow[list[Job | MissingJob]]:
    ids, found = list(job_ids), list[Job | MissingJob]()
    for first in range(0, len(ids), MAX_STATUS_IDS):
        part = encoded({"ids": ids[first : first + MAX_STATUS_IDS]})
        answer = yield from ask(Send("POST", "/v1/jobs:status", part), retries)
        found += parsed(_Statuses, answer).jobs
    return found


def jobs(status: JobStatus | None, retries: int) -> Flow[None]:
    """Tells all jobs, the newest first, page by page."""
    params = {"limit": PAGE} | ({"status": status.value} if status else {})
    while True:
        page = yield from fetch(JobPage, "/v1/jobs", retries, params)
        for job in page.jobs:
            yield Tell(job)
        if page.next is None:
            return
        params["cursor"] = page.next


def workers(retries: int) -> Flow[list[WorkerState]]:
    return (yield from fetch(_Workers, "/v1/workers", retries)).workers


def fetch(
    model: type[Model], path: str, retries: int, params: Mapping[str, str] | None = None
) -> Flow[Model]:
    return parsed(model, (yield from ask(Send("GET", path, params=params or {}), retries)))
