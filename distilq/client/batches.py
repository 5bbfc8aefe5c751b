"""A file of requests, worked through by the service: upload it, wait for it, read its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from pydantic import BaseModel

from distilq.errors import BatchAlreadyFinished, DistilqError

from .answers import check, parsed
from .errors import ConnectionFailed, UnexpectedAnswer, WaitTimedOut
from .jobs import new_key
from .options import encoded
from .retries import Backoff, Deadline, ask
from .steps import Answer, Flow, Read, Send, Tell, Wait

Endpoint: TypeAlias = Literal["/v1/completions", "/v1/jobs"]
Order: TypeAlias = Literal["input", "completion"]

#: Seconds between two looks at a batch: at first, and at most. Its counts change twice a second.
FIRST_S, MOST_S = 0.5, 5.0
#: Seconds of silence after which the connection is lost: the service breaks silence after 15.
SILENCE_S = 30.0

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class Counts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchState(BaseModel):
    """How a batch stands; times in seconds since 1970."""

    id: str
    status: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    request_counts: Counts
    #: Why no line of it could be run.
    errors: dict[str, Any] | None
    metadata: dict[str, str] | None

    @property
    def final(self) -> bool:
        return self.status in FINAL


class _File(BaseModel):
    id: str


def path(batch_id: str, action: str = "") -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}{action}"


def begin(file: Path, asked: Mapping[str, Any], retries: int) -> Flow[str]:
    """The id of a new batch. An upload that is sent twice leaves a file that nobody reads."""
    content = (file.name, file.read_bytes())
    upload = Send("POST", "/v1/files", form={"purpose": "batch"}, file=content)
    uploaded = parsed(_File, (yield from ask(upload, retries)))
    body = encoded({**asked, "input_file_id": uploaded.id})
    request = Send("POST", "/v1/batches", body, headers={"Idempotency-Key": new_key()})
    return parsed(BatchState, (yield from ask(request, retries))).id


def status(batch_id: str, retries: int) -> Flow[BatchState]:
    return parsed(BatchState, (yield from ask(Send("GET", path(batch_id)), retries)))


def cancel(batch_id: str, retries: int) -> Flow[BatchState]:
    """The batch, about to end, or as it ended before."""
    try:
        request = Send("POST", path(batch_id, "/cancel"))
        return parsed(BatchState, (yield from ask(request, retries)))
    except BatchAlreadyFinished:
        return (yield from status(batch_id, retries))


def wait(batch_id: str, timeout: float | None, retries: int) -> Flow[BatchState]:
    """The batch once it has ended, however it did."""
    deadline, pause_s = Deadline(timeout), FIRST_S
    while True:
        state = yield from status(batch_id, retries)
        if state.final:
            return state
        if deadline.left_s == 0:
            raise WaitTimedOut(f"batch {batch_id} is still {state.status}", batch_id=batch_id)
        yield Wait(min(pause_s, deadline.left_s))
        pause_s = min(pause_s * 2, MOST_S)


def rows(batch_id: str, order: Order, retries: int, *, follow: bool) -> Flow[None]:
    """Tells the rows of a batch, each once, across connections that break."""
    params = {"order": order, "follow": "true" if follow else "false"}
    where = path(batch_id, "/results")
    request = Send("GET", where, params=params, wait_s=SILENCE_S, streamed=True)
    told: set[str] = set()
    backoff = Backoff(retries)
    while True:
        try:
            answer: Answer = yield request
            check(answer)
            rest = b""
            while piece := (yield Read()):
                *lines, rest = (rest + piece).split(b"\n")
                for row in filter(None, map(_row, lines)):
                    if row["id"] not in told:
                        told.add(row["id"])
                        backoff.reset()
                        yield Tell(row)
            if rest or (follow and not (yield from status(batch_id, retries)).final):
                raise ConnectionFailed("the rows broke off")
            return
        except DistilqError as error:
            pause_s = backoff.after(error)
        yield Wait(pause_s)


def _row(line: bytes) -> dict[str, Any] | None:
    """None for an empty line: a sign of life."""
    if not line.strip():
        return None
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UnexpectedAnswer(f"the row {line[:80]!r}") from error
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise UnexpectedAnswer(f"the row {line[:80]!r}")
    return found
