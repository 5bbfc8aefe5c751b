"""Requests that are answered with their texts: an interactive job that is waited for.

Who hangs up, or whose time is over, has the job canceled, unless the request bears an idempotency
key: who sends it again gets the same job, which so has all the time that the service allows. A
job's id is in a header, so that a lost answer can still be fetched.
"""

from __future__ import annotations

from contextlib import suppress

from flask import Response

from distilq.errors import DistilqError, GenerationFailed, NotFinishedInTime, Unavailable
from distilq.events import Came, Ended, Event
from distilq.jobs import Job, JobRequest, JobStatus, Priority, ScoreRequest

from .context import settings, store
from .direct import Shown
from .once import once, submit_once
from .sse import Failed, event_stream, problem_message
from .waiting import slot, wait_until_final


def run(asked: ScoreRequest, limit_s: float, *, stream: bool = False) -> Job:
    """The job once it is final, however it ended; with `stream` its tokens can be had then.

    Raises:
        NotFinishedInTime, TooManyWaiting, and what `submit_once` does.
    """
    with slot():
        return _finished(submit_once(_urgent(asked, limit_s, stream=stream)), limit_s)


def stream(
    asked: ScoreRequest, limit_s: float, shown: Shown, failed: Failed = problem_message
) -> Response:
    """The job as it goes, as `shown` writes its events; see `told_once`.

    Raises what `run` does before the job is queued.
    """
    job = submit_once(_urgent(asked, limit_s, stream=True))
    try:
        return event_stream(job.id, None, shown, failed, cancel=once() is None)
    except DistilqError:
        if once() is None:
            with suppress(DistilqError):
                store().cancel(job.id)
        raise


def told_once(events: list[Event], told: dict[tuple[int, int], list[int]]) -> list[Came | Ended]:
    """Without what is known: another attempt, with the same seed, draws the same tokens again.

    `told` keeps the ids of what has been told, by input and sequence.

    Raises:
        GenerationFailed: it draws others; what has been told cannot be taken back.
    """
    found: list[Came | Ended] = []
    for event in events:
        if isinstance(event, Ended):
            found.append(event)
        elif isinstance(event, Came):
            ids, token = told.setdefault((event.token.input, event.token.sequence), []), event.token
            if token.index == len(ids):
                ids.append(token.id)
                found.append(event)
            elif ids[token.index] != token.id:
                raise GenerationFailed("another attempt went on differently")
    return found


def _urgent(asked: ScoreRequest, limit_s: float, *, stream: bool = False) -> JobRequest:
    return JobRequest(
        inputs=asked.inputs,
        parameters=asked.parameters,
        priority=Priority.INTERACTIVE,
        stream=stream,
        timeout_s=limit_s if once() is None else max(limit_s, settings().max_wait_s),
    )


def _finished(job: Job, limit_s: float) -> Job:
    """The job once it is final; one that nobody can ask for again is canceled before that."""
    try:
        job = wait_until_final(job.id, limit_s)
        if job.status.final:
            return job
        if once() is not None:
            raise NotFinishedInTime("it goes on; send the request again for it", job_id=job.id)
        job = store().cancel(job.id)
    except Unavailable as error:
        error.members["job_id"] = job.id
        raise
    if job.status in (JobStatus.CANCELED, JobStatus.CANCELING):
        raise NotFinishedInTime("it was canceled", job_id=job.id)
    return job
