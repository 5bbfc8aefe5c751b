"""The rows of a batch's answer: what they say, and how they lie in the storage.

There each has a head of fixed width, which clients do not see: the number of its line, and when it
was done, so that rows of several objects can be put in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from distilq.batches import Head
from distilq.errors import GenerationFailed, JobGone
from distilq.jobs import Job, JobStatus

from ..openai.answers import completion
from ..openai.errors import answered
from ..openai.schemas import CompletionRequest
from .lines import Asked, Refused, split

#: `LINE MILLISECONDS `, and how long it is.
HEAD, HEAD_BYTES = b"%07d %013d ", 22

#: Longest row that can be read back: more than the largest result that a job can have.
MAX_ROW = 1 << 30


@dataclass(frozen=True)
class Row:
    """The answer to one line, as a line of JSON with its end."""

    number: int
    done_ms: int
    json: bytes
    succeeded: bool

    def stored(self) -> bytes:
        return HEAD % (self.number, self.done_ms) + self.json


def of_job(head: Head, asked: Asked, job: Job | str) -> Row:
    """The row of a job that is final, or that nobody knows any more."""
    if isinstance(job, str):
        return _row(head, asked, done_ms(job), _failed(JobGone().problem(), None), succeeded=False)
    ended_ms = done_ms(job)
    if job.status is not JobStatus.SUCCEEDED:
        problem = job.error or GenerationFailed().problem()
        return _row(head, asked, ended_ms, _failed(problem, job.id), succeeded=False)
    if isinstance(asked.body, CompletionRequest):
        body = completion(job, asked.body).model_dump(mode="json")
    else:
        body = job.model_dump(mode="json")
    answer = {"response": {"status_code": 200, "request_id": job.id, "body": body}, "error": None}
    return _row(head, asked, ended_ms, answer, succeeded=True)


def done_ms(job: Job | str) -> int:
    """When it ended, in ms since 1970; 0 where that is not known any more."""
    ended_at = job.completed_at if isinstance(job, Job) else None
    return int(ended_at.timestamp() * 1000) if ended_at else 0


def of_refused(head: Head, line: Refused, at_ms: int) -> Row:
    error = {
        "code": line.code,
        "message": f"line {line.number}: {line.message}",
        "line": line.number,
        "param": line.param,
    }
    return _row(head, line, at_ms, {"response": None, "error": error}, succeeded=False)


def unstored(blocks: Iterable[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Of rows as they lie in the storage: number, time, offset, and what clients see."""
    for line in split(blocks, MAX_ROW):
        raw = line.raw or b""
        number, at_ms = raw[: HEAD_BYTES - 1].split()
        yield int(number), int(at_ms), line.offset, raw[HEAD_BYTES:]


def _row(
    head: Head, line: Asked | Refused, at_ms: int, answer: dict[str, Any], *, succeeded: bool
) -> Row:
    row_id = f"batch_req_{head.id.removeprefix('batch_')}_{line.number}"
    text = json.dumps({"id": row_id, "custom_id": line.custom_id, **answer}) + "\n"
    return Row(line.number, at_ms, text.encode(), succeeded)


def _failed(problem: dict[str, Any], job_id: str | None) -> dict[str, Any]:
    status, body = answered(problem)
    response = {"status_code": status, "request_id": job_id or "", "body": body}
    return {"response": response, "error": None}
