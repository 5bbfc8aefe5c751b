"""Who runs: policy, without torch.

First come, first served, strictly: a job that does not fit yet is never overtaken, so a big one
waits only for those before it. A row is admitted with all the cache it may ever need, so a running
row is never evicted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .rows import ActiveJob, Chunk, Prompt, Row
from .segments import Segments

#: Prompts are cut at multiples of this many of their own tokens, whatever else is prefilled in the
#: same step: the arithmetic of a prompt must not depend on its neighbours.
CHUNK = 64


class Scheduler:
    def __init__(self, *, max_rows: int, max_batch_tokens: int, prefill_budget: int) -> None:
        self.max_rows = max_rows
        self.segments = Segments(max_batch_tokens)
        self._budget = prefill_budget
        self._chunk = min(CHUNK, prefill_budget)
        self._waiting: deque[ActiveJob] = deque()
        self._running: set[Row] = set()
        self._prefilling: dict[Prompt, None] = {}
        self._ready: list[Row] | None = None

    @property
    def rows(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> Iterable[ActiveJob]:
        """Jobs with rows that have no place yet, in order."""
        return self._waiting

    @property
    def waiting_jobs(self) -> int:
        # Of a copy: other threads ask, and a deque that changes while it is walked raises.
        return sum(not job.planned for job in list(self._waiting))

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    @property
    def has_place(self) -> bool:
        return len(self._running) < self.max_rows

    def add(self, job: ActiveJob) -> None:
        self._waiting.append(job)

    def head(self) -> ActiveJob | None:
        return self._waiting[0] if self._waiting else None

    def admit(self, job: ActiveJob) -> list[Row]:
        """Give places to rows of the job at the head, as many as fit now."""
        admitted: list[Row] = []
        for prompt in job.prompts:
            while prompt.waiting and self.has_place:
                segment = self.segments.take(prompt.tokens)
                if segment is None:
                    return admitted
                row = prompt.waiting.popleft()
                row.segment = segment
                self._enter(row)
                admitted.append(row)
        if not any(prompt.waiting for prompt in job.prompts):
            self._waiting.remove(job)
        return admitted

    def _enter(self, row: Row) -> None:
        prompt = row.prompt
        if not prompt.admitted and prompt.prefilled < prompt.to_prefill:
            self._prefilling[prompt] = None
        prompt.admitted.append(row)
        self._running.add(row)
        self._ready = None

    def chunks(self) -> list[Chunk]:
        """What to prefill in this step: the oldest prompts first, within the token budget."""
        chunks: list[Chunk] = []
        left = self._budget
        for prompt in self._prefilling:
            start, segment = prompt.prefilled, prompt.admitted[0].place
            while start < prompt.to_prefill:
                stop = min(start + self._chunk, prompt.to_prefill)
                if stop - start > left:
                    return chunks
                chunks.append(Chunk(prompt, segment, start, stop))
                left -= stop - start
                start = stop
        return chunks

    def prefilled(self, chunk: Chunk) -> None:
        """Note that a chunk has been computed."""
        prompt = chunk.prompt
        prompt.prefilled = chunk.stop
        if prompt.prefilled == prompt.to_prefill:
            del self._prefilling[prompt]

    def start(self, row: Row) -> None:
        """Let a row decode: its prompt's keys are in its segment."""
        row.ready = True
        self._ready = None

    def ready(self) -> list[Row]:
        """The rows to decode, in the order of their segments; the same list until it changes."""
        if self._ready is None:
            self._ready = sorted((row for row in self._running if row.ready), key=_offset)
        return self._ready

    def release(self, row: Row) -> Row | None:
        """Take a finished row out. The next row of its prompt inherits place and segment, if any.

        The prompt's keys still lie in the segment, so the heir needs no prefill and no copy.
        """
        prompt = row.prompt
        self._running.remove(row)
        prompt.admitted.remove(row)
        self._ready = None
        if row.ready and prompt.waiting:
            heir = prompt.waiting.popleft()
            heir.segment, heir.ready = row.segment, True
            self._enter(heir)
            if prompt.job in self._waiting and not any(p.waiting for p in prompt.job.prompts):
                self._waiting.remove(prompt.job)
            return heir
        self.segments.give_back(row.place)
        return None

    def drop(self, job: ActiveJob) -> None:
        """Take a job out whole: its waiting rows and its running ones."""
        if job in self._waiting:
            self._waiting.remove(job)
        for prompt in job.prompts:
            prompt.waiting.clear()
            self._prefilling.pop(prompt, None)
            for row in list(prompt.admitted):
                self.release(row)

    def running_jobs(self) -> list[ActiveJob]:
        return list({row.prompt.job: None for row in self._running})


def _offset(row: Row) -> int:
    return row.place.offset
