"""A text for each of any number of prompts, with a bounded number of jobs in flight.

Prompts are taken in chunks and submitted as batches. Then the oldest job that is not final is
waited for by long poll, and jobs are looked at in the order of their submission, which is about
that of their ends. Nothing is kept of a prompt whose outcome has been told.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distilq.cluster import MissingJob
from distilq.errors import (
    DistilqError,
    InvalidParameters,
    JobGone,
    JobNotFound,
    MalformedJson,
    OwnerFull,
    PayloadTooLarge,
    QueueFull,
    RateLimited,
    StoreFull,
)
from distilq.jobs import MAX_STATUS_IDS, Job

from . import jobs, many
from .answers import of_problem
from .errors import ConnectionFailed
from .options import Inputs
from .progress import Bar
from .results import Mapped, result_of
from .retries import RETRY_AFTER_S, Backoff, Deadline
from .steps import Flow, Send, Take, Tell, Wait

#: Part of what may be in flight that is submitted at once: the others keep the workers busy.
CHUNKS = 4
#: Seconds of one long poll. Whatever ends while the oldest job goes on is seen after these.
POLL_S = 2
#: Seconds in which the jobs that are left behind have to be canceled.
LEAVE_S = 10.0
#: The service has no room now; it will, once jobs have ended.
FULL = (QueueFull, OwnerFull, RateLimited, StoreFull)
#: What is wrong with one of a batch's jobs, or with several. Half a surrogate pair, and lists in
#: lists in lists, are no JSON to the service.
AT_FAULT = (InvalidParameters, MalformedJson, PayloadTooLarge)
#: Of a batch's bad field: the number of its job, and where in it.
POINTER = re.compile(r"#/jobs/([0-9]+)(/.*)?")


@dataclass
class Entry:
    """A prompt that was taken, and has not been told of."""

    index: int
    prompt: Inputs | Mapping[str, Any]
    job_id: str | None = None
    mapped: Mapped | None = None

    def ends(self, job: Job | MissingJob) -> bool:
        """Whether its job has ended; takes note of how."""
        try:
            if isinstance(job, MissingJob):
                lost = JobGone if job.status == "gone" else JobNotFound
                raise lost(f"job {job.id} is {job.status}", job_id=job.id)
            if not job.status.final:
                return False
            self.mapped = Mapped(self.index, self.prompt, result=result_of(job))
        except DistilqError as error:
            self.error(error)
        return True

    def error(self, error: DistilqError) -> None:
        self.mapped = Mapped(self.index, self.prompt, error=error)


class Map:
    """One map under way."""

    def __init__(
        self,
        body: Callable[[Inputs | Mapping[str, Any]], dict[str, Any]],
        in_flight: int,
        retries: int,
        *,
        ordered: bool,
        return_errors: bool,
    ) -> None:
        self._body = body
        self._in_flight = in_flight
        self._most = self._chunk = max(1, min(in_flight // CHUNKS, MAX_STATUS_IDS))
        self._retries = retries
        self._ordered = ordered
        self._return_errors = return_errors
        #: All that were taken and not told of, in the order of prompts.
        self._untold: dict[int, Entry] = {}
        #: Of these: not submitted; submitted and not final, in the order of submission.
        self._taken: deque[Entry] = deque()
        self._running: dict[str, Entry] = {}
        self._count = 0
        self._exhausted = False
        self._full = Backoff(retries)
        self._polls = Backoff(retries)
        #: A batch whose answer has not come.
        self._sending: Send | None = None
        self._resumes = Deadline(0)

    def outcomes(self, bar: Bar) -> Flow[None]:
        """Tells a `Mapped` per prompt. Left early, by whatever, it cancels the jobs under way."""
        try:
            with bar as advance:
                while not self._exhausted or self._untold:
                    yield from self._submit()
                    yield from self._look()
                    for mapped in self._ripe():
                        advance()
                        yield Tell(mapped)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._leave()
            raise

    def _submit(self) -> Flow[None]:
        """Take and submit prompts while there is room, here and there."""
        while self._resumes.left_s == 0:
            if not self._taken:
                if self._exhausted or len(self._untold) + self._most > self._in_flight:
                    return
                yield from self._take()
            if self._taken:
                yield from self._submit_chunk()

    def _take(self) -> Flow[None]:
        prompts = yield Take(self._most)
        self._exhausted = len(prompts) < self._most
        for prompt in prompts:
            entry = self._untold[self._count] = Entry(self._count, prompt)
            self._taken.append(entry)
            self._count += 1

    def _submit_chunk(self) -> Flow[None]:
        """Submit what was taken, or as many of it as the service may accept at once."""
        entries = list(islice(self._taken, self._chunk))
        self._sending = many.batch([self._body(entry.prompt) for entry in entries])
        try:
            ids = yield from many.submit_many(self._sending, self._retries, FULL)
        except FULL as error:
            self._come_back(error)
        except AT_FAULT as error:
            self._leave_out(entries, error)
        else:
            self._full.reset()
            self._chunk = min(self._chunk * 2, self._most)
            for job_id, entry in zip(ids, entries, strict=True):
                self._running[job_id] = entry
                self._taken.popleft()
        self._sending = None

    def _come_back(self, error: DistilqError) -> None:
        """Later, and with fewer: there may never be room for so many at once."""
        wait_s = min(error.retry_after_s or 0.0, RETRY_AFTER_S)
        self._resumes = Deadline(self._full.pause_s(wait_s))
        self._chunk = max(1, self._chunk // 2)

    def _leave_out(self, entries: list[Entry], error: DistilqError) -> None:
        """Give up the prompts that are at fault; where it cannot be told which, look at fewer."""
        found = _by_job(error)
        if not found and len(entries) > 1:
            self._chunk = len(entries) // 2
            return
        for number, entry in enumerate(entries):
            if number in found or not found:
                entry.error(found.get(number, error))
                self._taken.remove(entry)

    def _look(self) -> Flow[None]:
        """Wait for the oldest job that runs, then see what has ended of those behind it."""
        if not self._running:
            if self._taken:
                yield Wait(self._resumes.left_s)
            return
        oldest = Send("GET", jobs.path(next(iter(self._running))))
        try:
            job = yield from jobs.poll(oldest, POLL_S, self._polls, self._retries)
            ended = job.status.final
        except (JobNotFound, JobGone):
            ended = True
        yield from self._see(every=not ended)

    def _see(self, *, every: bool) -> Flow[None]:
        """Fetch what has ended: of every job, or as far as at least half of a chunk has."""
        ids = list(self._running)
        for first in range(0, len(ids), self._most):
            part = ids[first : first + self._most]
            found = yield from many.statuses(part, self._retries)
            ended = [i for i, job in zip(part, found, strict=True) if self._running[i].ends(job)]
            for job_id in ended:
                del self._running[job_id]
            if not every and len(ended) * 2 < len(part):
                return

    def _ripe(self) -> Iterator[Mapped]:
        """Outcomes whose turn it is; raises the first error unless errors are returned."""
        for index, entry in list(self._untold.items()):
            if entry.mapped is None and self._ordered:
                return
            if entry.mapped is None:
                continue
            if entry.mapped.error and not self._return_errors:
                raise entry.mapped.error
            del self._untold[index]
            yield entry.mapped

    def _leave(self) -> Flow[None]:
        """Cancel what runs, that of a batch whose answer is still to come included."""
        deadline, ids = Deadline(LEAVE_S), list(self._running)
        with suppress(DistilqError):
            if self._sending is not None:
                ids += yield from many.submit_many(self._sending, 0, deadline=deadline)
        for job_id in ids:
            try:
                yield from jobs.cancel(job_id, 0, deadline)
            except ConnectionFailed:
                return
            except DistilqError:
                continue


def _by_job(error: DistilqError) -> dict[int, DistilqError]:
    """What is wrong with a batch, by the number of its job."""
    entries: dict[int, list[dict[str, Any]]] = {}
    for entry in error.errors:
        if match := POINTER.fullmatch(str(entry.get("pointer"))):
            place = {**entry, "pointer": f"#{match[2] or ''}"}
            entries.setdefault(int(match[1]), []).append(place)
    return {number: _invalid(found, error) for number, found in entries.items()}


def _invalid(entries: list[dict[str, Any]], error: DistilqError) -> DistilqError:
    invalid = of_problem(InvalidParameters(errors=entries).problem())
    invalid.request_id = error.request_id
    return invalid


def check_in_flight(in_flight: int) -> None:
    if in_flight < 1:
        raise ValueError(f"in_flight must be at least 1, not {in_flight}")
