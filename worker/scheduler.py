"""Who runs: policy, without torch.

The most urgent class first, first come, first served within a class (lines.py says whose turn it
is). A job that does not fit yet is never overtaken by one of its own class, nor by a less urgent
one but in that one's turn: a big job waits only for those before it. A row is admitted with all the
cache it may ever need, so a running row leaves before its end in one case only: a bulk row is
paused for an interactive one.
"""

from __future__ import annotations

from collections.abc import Sequence

from distilq.jobs import Priority

from .lines import Lines, urgency
from .prefill import Prefills
from .rows import ActiveJob, Chunk, Prompt, Row
from .segments import Segments

#: A pause costs a row, at worst, all of its steps once more: with two it takes three times its
#: steps, and then it ends. With one, long bulk rows could soon no longer give way.
MOST_PAUSES = 2


class Scheduler:
    def __init__(self, *, max_rows: int, max_batch_tokens: int, prefill_budget: int) -> None:
        self.max_rows = max_rows
        self.segments = Segments(max_batch_tokens)
        #: Pauses since the start.
        self.paused = 0
        self.prefills = Prefills(prefill_budget)
        self._lines = Lines()
        #: In the order of their admission.
        self._running: dict[Row, None] = {}
        self._ready: list[Row] | None = None

    @property
    def rows(self) -> int:
        return len(self._running)

    @property
    def waiting_jobs(self) -> int:
        """Jobs without any row in the batch. Other threads ask."""
        return sum(not any(p.admitted for p in job.prompts) for job in self._lines.all())

    @property
    def busy(self) -> bool:
        return bool(self._lines or self._running)

    def add(self, job: ActiveJob) -> None:
        self._lines.join(job)

    def next(self) -> ActiveJob | None:
        """The job whose next row can be admitted now; one that is not planned yet is to be planned.

        An interactive job never waits for another class: neither for a turn that cannot be used
        yet, nor for places that bulk rows can give.
        """
        job = self._lines.in_turn()
        if job is None or self._fits(job):
            return job
        urgent = self._lines.first(Priority.INTERACTIVE)
        if urgent is not None and self._fits(urgent, self._pausable()):
            return urgent
        return None

    def admit(self, job: ActiveJob) -> Row:
        """Give a place to the next row of what `next` returned, pausing bulk rows if it must."""
        if not self._fits(job):
            for other in self._to_pause(job):
                self._pause(other)
        prompt = _next_prompt(job)
        row = prompt.waiting.popleft()
        row.segment = self.segments.take(prompt.tokens)
        self.prefills.enter(row)
        self._enter(row)
        return row

    def _fits(self, job: ActiveJob, without: Sequence[Row] = ()) -> bool:
        """Whether the job's next row, as far as it is known, has a place `without` these rows."""
        if len(self._running) - len(without) >= self.max_rows:
            return False
        if not job.planned:
            return True
        return self.segments.fits(_next_prompt(job).tokens, [row.place for row in without])

    def _pausable(self) -> list[Row]:
        """Rows that give way to an interactive one, the youngest first: it has least to replay."""
        return [
            row
            for row in reversed(self._running)
            if row.prompt.job.request.priority is Priority.BULK and row.pauses < MOST_PAUSES
        ]

    def _to_pause(self, job: ActiveJob) -> list[Row]:
        """The youngest rows that make room for the job, without those that do not help."""
        rows = self._pausable()
        count = next(n for n in range(1, len(rows) + 1) if self._fits(job, rows[:n]))
        chosen = rows[:count]
        for row in reversed(rows[: count - 1]):
            others = [other for other in chosen if other is not row]
            if self._fits(job, others):
                chosen = others
        return chosen

    def _pause(self, row: Row) -> None:
        """Send a row back to the front of its line; it keeps its tokens, and replays them later."""
        self._leave(row)
        self.segments.give_back(row.place)
        row.segment, row.ready = None, False
        row.to_replay = len(row.tokens)
        row.pauses += 1
        self.paused += 1
        row.prompt.waiting.appendleft(row)
        self._lines.rejoin(row.prompt.job)

    def _enter(self, row: Row) -> None:
        job = row.prompt.job
        self._running[row] = None
        self._ready = None
        self._lines.note_admitted(job)
        if urgency(job) and self._lines.first(Priority.INTERACTIVE):
            row.pauses = MOST_PAUSES  # it is its class's turn, which is not to be undone at once
        if not any(each.waiting for each in job.prompts):
            self._lines.leave(job)

    def _leave(self, row: Row) -> None:
        self.prefills.leave(row)
        del self._running[row]
        self._ready = None

    def chunks(self) -> list[Chunk]:
        """What to prefill in this step: little while rows decode, so that none of them stalls."""
        return self.prefills.chunks(beside=self.rows if self.ready() else 0)

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
        """Take a finished row out. The next row of its prompt inherits the place if it is its turn.

        The prompt's keys still lie in the segment, so the heir needs no prefill and no copy.
        """
        prompt = row.prompt
        if row.ready and prompt.waiting and self._lines.in_turn() is prompt.job:
            heir = prompt.waiting.popleft()
            heir.segment, heir.ready = row.segment, True
            self.prefills.enter(heir)  # before the row leaves: the keys are not lost
            self._leave(row)
            self._enter(heir)
            return heir
        self._leave(row)
        self.segments.give_back(row.place)
        return None

    def drop(self, job: ActiveJob) -> None:
        """Take a job out whole: its waiting rows and its running ones."""
        self._lines.leave(job)
        for prompt in job.prompts:
            prompt.waiting.clear()
            for row in list(prompt.admitted):
                self.release(row)

    def running_jobs(self) -> list[ActiveJob]:
        return list({row.prompt.job: None for row in self._running})


def _next_prompt(job: ActiveJob) -> Prompt:
    return next(prompt for prompt in job.prompts if prompt.waiting)


def _offset(row: Row) -> int:
    return row.place.offset
