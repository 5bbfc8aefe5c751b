"""One job: submit it, look at it, wait for it, cancel it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote

from pydantic import RootModel

from distilq.errors import DistilqError, JobAlreadyFinished
from distilq.jobs import Job
from distilq.timeline import Timeline

from .answers import parsed
from .errors import ConnectionFailed, WaitTimedOut
from .options import encoded
from .results import Result, result_of
from .retries import NEVER, Backoff, Deadline, ask, transient
from .steps import Flow, Send, Wait

#: Seconds of one long poll; proxies commonly cut a connection that is silent for 60.
POLL_S = 30
#: Seconds. A poll that was answered sooner, with a job that is not final, was not granted its wait.
GRANTED_S = 1.0
#: Seconds in which a job that nobody waits for any more has to be canceled.
LEAVE_S = 5.0


class _Request(RootModel[dict[str, Any]]):
    pass


def path(job_id: str, action: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{action}"


def new_key() -> str:
    """An Idempotency-Key of its own, as it goes into the header."""
    return f'"{uuid.uuid4()}"'


def quoted(key: str) -> str:
    """A caller's key as the header has it (RFC 8941, 3.3.3)."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def submission(body: Mapping[str, Any], key: str | None = None) -> Send:
    """POST /v1/jobs, with a key by which it is one submission however often it is sent."""
    header = new_key() if key is None else quoted(key)
    return Send("POST", "/v1/jobs", encoded(body), headers={"Idempotency-Key": header})


def submit(body: Mapping[str, Any], key: str | None, retries: int) -> Flow[Job]:
    return parsed(Job, (yield from ask(submission(body, key), retries)))


def status(job_id: str, retries: int) -> Flow[Job]:
    return parsed(Job, (yield from ask(Send("GET", path(job_id)), retries)))


def cancel(job_id: str, retries: int, deadline: Deadline = NEVER) -> Flow[Job]:
    """The job, canceled or about to be, or as it ended before."""
    try:
        request = Send("POST", path(job_id, "/cancel"))
        return parsed(Job, (yield from ask(request, retries, deadline)))
    except JobAlreadyFinished:
        return (yield from status(job_id, retries))


def timeline(job_id: str, retries: int) -> Flow[Timeline]:
    return parsed(Timeline, (yield from ask(Send("GET", path(job_id, "/timeline")), retries)))


def request(job_id: str, retries: int) -> Flow[dict[str, Any]]:
    return parsed(_Request, (yield from ask(Send("GET", path(job_id, "/request")), retries))).root


def delete(job_id: str, retries: int) -> Flow[None]:
    yield from ask(Send("DELETE", path(job_id)), retries)


def wait(
    job_id: str, timeout: float | None, retries: int, *, cancel_on_timeout: bool = False
) -> Flow[Job]:
    """The job once it is final."""
    try:
        return (yield from _until_final(Send("GET", path(job_id)), retries, Deadline(timeout)))
    except WaitTimedOut as error:
        if cancel_on_timeout:
            error.members["canceled"] = yield from _left(job_id)
        raise


def result(
    job_id: str, timeout: float | None, retries: int, *, cancel_on_timeout: bool = False
) -> Flow[Result]:
    waiting = wait(job_id, timeout, retries, cancel_on_timeout=cancel_on_timeout)
    return result_of((yield from waiting))


def generate(
    body: Mapping[str, Any], timeout: float | None, retries: int, *, cancel_on_timeout: bool
) -> Flow[Result]:
    """Submit and wait.

    Who interrupts it, or gets no answer, will never know the job's id: it is canceled then.
    """
    request, deadline = submission(body), Deadline(timeout)
    try:
        return result_of((yield from _until_final(request, retries, deadline)))
    except WaitTimedOut as error:
        if cancel_on_timeout and error.job_id:
            error.members["canceled"] = yield from _left(error.job_id)
        raise
    except ConnectionFailed:
        if cancel_on_timeout:
            yield from _leave(request)
        raise
    except (DistilqError, GeneratorExit):
        raise
    except BaseException:
        yield from _leave(request)
        raise


def poll(
    request: Send, wait_s: int, pauses: Backoff, retries: int, deadline: Deadline = NEVER
) -> Flow[Job]:
    """The job of `request` after a long poll of `wait_s`, or a pause where that was not granted.

    A server that is at its limit of waiting requests answers at once, and so does one that stops.
    """
    asked_at = monotonic()
    job = parsed(Job, (yield from ask(_preferring(request, wait_s), retries, deadline)))
    if job.status.final or monotonic() - asked_at >= GRANTED_S:
        pauses.reset()
    else:
        yield Wait(min(pauses.pause_s(), deadline.left_s))
    return job


def _until_final(request: Send, retries: int, deadline: Deadline) -> Flow[Job]:
    """The job of `request` once it is final, looked at by long polls."""
    job_id, pauses = _known_id(request), Backoff(retries)
    while True:
        wait_s = int(min(POLL_S, deadline.left_s))
        try:
            job = yield from poll(request, wait_s, pauses, retries, deadline)
        except DistilqError as error:
            if job_id and deadline.left_s < GRANTED_S and transient(error):
                raise _too_late(job_id) from error
            raise
        if job.status.final:
            return job
        if deadline.left_s == 0:
            raise _too_late(job.id, job.status.value)
        request, job_id = Send("GET", path(job.id)), job.id


def _known_id(request: Send) -> str | None:
    return request.path.rsplit("/", 1)[1] if request.method == "GET" else None


def _preferring(request: Send, wait_s: int) -> Send:
    headers = {**request.headers, "Prefer": f"wait={wait_s}"} if wait_s else request.headers
    return Send(request.method, request.path, request.body, headers=headers, wait_s=wait_s)


def _too_late(job_id: str, stands: str = "queued or running") -> WaitTimedOut:
    return WaitTimedOut(f"job {job_id} is still {stands}", job_id=job_id)


def _leave(submission: Send) -> Flow[None]:
    """Cancel the job of a submission whose answer may not have come."""
    try:
        job = parsed(Job, (yield from ask(submission, 0, Deadline(LEAVE_S))))
        if not job.status.final:
            yield from cancel(job.id, 0, Deadline(LEAVE_S))
    except DistilqError:
        pass  # what interrupted is what the caller has to hear of


def _left(job_id: str) -> Flow[bool]:
    """Whether the job could be canceled."""
    try:
        yield from cancel(job_id, 1, Deadline(LEAVE_S))
    except DistilqError:
        return False
    return True
