"""One segment of a batch: its lines read, its jobs submitted, its answers written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import ceil
from typing import NamedTuple

from distilq.batches import Batch, Part, Segment, Written
from distilq.jobs import Job, JobRequest, JobStatus, Priority
from distilq.once import Once
from distilq.storage import Storage

from ..context import settings, store
from ..openai.schemas import CompletionRequest
from .lines import Asked, Line, Refused, read, split
from .rows import Row, of_job, of_refused

Entry = Asked | Refused

#: Jobs that are in memory at once with their texts.
JOBS_AT_ONCE = 16

#: What becomes of jobs when nobody waits for them any more.
NOT_RUN = (JobStatus.CANCELED, JobStatus.EXPIRED)

#: Seconds for which the answer of a job is kept; it is forgotten when its row is written. They
#: have to be there after any outage. And how long it may run: on a busy machine bulk is paused.
RESULT_TTL_S, TIMEOUT_S = 604_800, 3_600.0


class Spot(NamedTuple):
    """Where a line is, and whether it is a request: all that has to be kept of it."""

    number: int
    offset: int
    length: int
    asked: bool


def entries(storage: Storage, path: str, batch: Batch, segment: Segment) -> list[Entry]:
    """What each of its lines asks for. Raises StoredFileNotFound and StorageUnavailable."""
    return [entry for _, entry in _read(storage, path, batch, segment)]


def spots(storage: Storage, path: str, batch: Batch, segment: Segment) -> list[Spot]:
    """Where its lines are. Raises as `entries`."""
    return [
        Spot(line.number, line.offset, line.length, isinstance(entry, Asked))
        for line, entry in _read(storage, path, batch, segment)
    ]


def entry_at(storage: Storage, path: str, batch: Batch, segment: Segment, spot: Spot) -> Entry:
    """What one of its lines asks for. Raises as `entries`."""
    alone = segment.model_copy(
        update={"offset": spot.offset, "length": spot.length, "first": spot.number}
    )
    return entries(storage, path, batch, alone)[0]


def _read(
    storage: Storage, path: str, batch: Batch, segment: Segment
) -> Iterator[tuple[Line, Entry]]:
    blocks = storage.read(path, segment.offset, segment.length)
    twice = frozenset(segment.twice)
    for line in split(blocks, settings().max_body_bytes, segment.first, segment.offset):
        if not line.blank:
            yield line, read(line, batch.head.endpoint, twice=line.number in twice)


def submit(batch: Batch, number: int, found: Sequence[Entry]) -> list[str]:
    """The ids of the jobs of those that are requests; the same ones when it is done again.

    Raises what `Jobs.submit_many` does.
    """
    requests = [_request(batch, entry) for entry in found if isinstance(entry, Asked)]
    if not requests:
        return []
    return store().submit_many(requests, Once(f"{batch.id} {number}", batch.id))


def rows(batch: Batch, found: Sequence[Entry], ids: Sequence[str]) -> Iterator[Row | None]:
    """One per entry, in order; None for a job that has not ended."""
    made = jobs(ids)
    for entry in found:
        if isinstance(entry, Refused):
            yield of_refused(batch.head, entry, _now_ms())
            continue
        job = next(made)
        final = isinstance(job, str) or job.status.final
        yield of_job(batch.head, entry, job) if final else None


def rows_at_the_end(
    batch: Batch, found: Sequence[Entry], ids: Sequence[str], code: str, message: str
) -> Iterator[Row]:
    """Those of a segment of which some jobs were canceled, as the batch ends before its time."""
    made = jobs(ids)
    for entry in found:
        job = next(made) if isinstance(entry, Asked) else ""
        if isinstance(entry, Asked) and isinstance(job, Job) and job.status not in NOT_RUN:
            yield of_job(batch.head, entry, job)
        else:
            yield from not_run(batch, [entry], code, message)


def not_run(batch: Batch, found: Sequence[Entry], code: str, message: str) -> Iterator[Row]:
    """Rows of entries that nobody will run any more."""
    for entry in found:
        if isinstance(entry, Asked):
            line = Refused(entry.number, entry.custom_id, code, message)
        else:
            line = entry
        yield of_refused(batch.head, line, _now_ms())


def write(storage: Storage, batch: Batch, number: int, found: Iterator[Row]) -> Written:
    """The rows as two objects, of the requests that succeeded and of all others.

    Their names are used once: one who was taken for dead cannot write over what came after.
    Raises StorageUnavailable.
    """
    base = f"batches/{batch.id}/{number:05d}-{secrets.token_hex(4)}"
    parts: dict[bool, Part] = {}
    counts, times = {True: 0, False: 0}, [0, 0]
    with ExitStack() as open_files:
        files = {}
        for row in found:
            if row.succeeded not in files:
                path = f"{base}.{'output' if row.succeeded else 'error'}.jsonl"
                files[row.succeeded] = open_files.enter_context(storage.write(path))
                parts[row.succeeded] = Part(path=path, bytes=0)
            files[row.succeeded].write(row.stored())
            parts[row.succeeded].bytes += len(row.json)
            counts[row.succeeded] += 1
            times = [min(times[0] or row.done_ms, row.done_ms), max(times[1], row.done_ms)]
    return Written(
        output=parts.get(True),
        error=parts.get(False),
        completed=counts[True],
        failed=counts[False],
        first_ms=times[0],
        last_ms=times[1],
    )


def _request(batch: Batch, entry: Asked) -> JobRequest:
    left_s = max(1, ceil(batch.head.expires_at - time.time()))
    if isinstance(entry.body, CompletionRequest):
        return JobRequest(
            inputs=entry.body.prompts,
            parameters=entry.body.parameters,
            priority=Priority.BULK,
            timeout_s=TIMEOUT_S,
            start_within_s=min(left_s, RESULT_TTL_S),
            result_ttl_s=RESULT_TTL_S,
        )
    own = entry.body.start_within_s
    return entry.body.replaced(
        priority=Priority.BULK,
        start_within_s=min(left_s, RESULT_TTL_S) if own is None else min(own, left_s),
        result_ttl_s=RESULT_TTL_S,
    )


def jobs(ids: Sequence[str]) -> Iterator[Job | str]:
    """As `Jobs.get_many`, a few at a time."""
    for start in range(0, len(ids), JOBS_AT_ONCE):
        yield from store().get_many(ids[start : start + JOBS_AT_ONCE])


def _now_ms() -> int:
    return int(time.time() * 1000)
