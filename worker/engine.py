"""Continuous batching: at every step finished rows leave and queued ones join.

One thread owns the engine and calls `wait` and `step`; `submit`, `cancel` and `progress` may come
from any. Knows no torch: what it runs is a `rows.Model`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from distilq.errors import Canceled, DistilqError, GenerationFailed, TimedOut
from distilq.histograms import Observations
from distilq.jobs import JobRequest, Outcome

from . import outcomes, tokens
from .plan import plan_next
from .rows import ActiveJob, Candidates, Chunk, Draws, Emitted, Model, Prompt, Row, Tokenizer
from .scheduler import Scheduler

log = logging.getLogger("distilq.engine")

#: Seconds of a step in which prompts are tokenized, so that neither a burst of jobs nor one with
#: many long inputs stalls the rows that run.
PLANNING_S = 0.005

#: Passes of the model that a worker remembers, for a picture of its batch.
RECENT_PASSES = 120


@dataclass(frozen=True)
class EngineStats:
    """Counters since the start, then gauges."""

    steps: int = 0
    #: Rows decoded, summed over the steps: divided by `steps`, the mean batch size.
    row_steps: int = 0
    #: New tokens; those that a paused row replays are not new.
    generated_tokens: int = 0
    prefill_tokens: int = 0
    #: Times a bulk row was paused for an interactive one.
    paused: int = 0
    rows: int = 0
    waiting: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0


class Engine:
    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        max_rows: int,
        max_batch_tokens: int,
        prefill_budget: int,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._limits = {
            "max_rows": max_rows,
            "max_batch_tokens": max_batch_tokens,
            "prefill_budget": prefill_budget,
        }
        self._scheduler = Scheduler(**self._limits)
        self._arrived = threading.Condition()
        self._inbox: deque[ActiveJob] = deque()
        self._canceled: set[str] = set()
        self._jobs: dict[str, ActiveJob] = {}
        self._finished: list[tuple[str, Outcome]] = []
        self._emitted: list[Emitted] = []
        self._steps = self._row_steps = self._generated = self._prefilled = 0
        #: Rows decoded and tokens prefilled by each of the last passes, a ring.
        self._passes = 0
        self._recent = [(0, 0)] * RECENT_PASSES
        self.observations = Observations()
        self._decoded_at = 0.0
        model.reserve(max_batch_tokens)

    def submit(self, key: str, request: JobRequest) -> None:
        """Queue a resolved request; its outcome comes from a later `step`."""
        job = ActiveJob(key, request, time.monotonic())
        with self._arrived:
            self._inbox.append(job)
            self._arrived.notify()

    def cancel(self, key: str) -> None:
        """Let a job leave at the next step, with the error `canceled`."""
        with self._arrived:
            self._canceled.add(key)
            self._arrived.notify()

    def wait(self, timeout: float) -> bool:
        """Block until there is work, at most `timeout` seconds; True if there is."""
        with self._arrived:
            return self._arrived.wait_for(
                lambda: bool(self._inbox or self._canceled or self._scheduler.busy), timeout
            )

    def step(self) -> list[tuple[str, Outcome]]:
        """One token for every running row; the jobs that ended."""
        self._listen()
        self._expire()
        try:
            self._admit()
            self._forward()
        except Exception as error:
            log.exception("a step failed; its jobs end, the others go on")
            self._fail_running(error)
        finished, self._finished = self._finished, []
        return finished

    def emitted(self) -> list[Emitted]:
        """What the jobs that stream were given since this was last called."""
        emitted, self._emitted = self._emitted, []
        return emitted

    def progress(self) -> dict[str, tuple[int, int]]:
        """Tokens and sequences done so far, by the key of every job that the engine holds."""
        with self._arrived:
            jobs = [*self._jobs.values(), *self._inbox]
        return {job.key: (job.tokens_done, job.sequences_done) for job in jobs}

    def recent(self) -> list[tuple[int, int]]:
        """Rows decoded and prompt tokens prefilled by each of the last passes, oldest first."""
        passes, ring = self._passes, [*self._recent]
        if passes < RECENT_PASSES:
            return ring[:passes]
        first = passes % RECENT_PASSES
        return ring[first:] + ring[:first]

    @property
    def stats(self) -> EngineStats:
        return EngineStats(
            steps=self._steps,
            row_steps=self._row_steps,
            generated_tokens=self._generated,
            prefill_tokens=self._prefilled,
            paused=self._scheduler.paused,
            rows=self._scheduler.rows,
            waiting=self._scheduler.waiting_jobs + len(self._inbox),
            kv_tokens=self._scheduler.segments.used,
            kv_capacity=self._scheduler.segments.capacity,
        )

    def _listen(self) -> None:
        """Take in what other threads have brought."""
        with self._arrived:
            arrived, self._inbox = self._inbox, deque()
            canceled, self._canceled = self._canceled, set()
            self._jobs.update((job.key, job) for job in arrived)
        for job in arrived:
            self._scheduler.add(job)
        for key in canceled & self._jobs.keys():
            self._fail(self._jobs[key], Canceled())

    def _expire(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs.values() if job.deadline <= now]:
            late = TimedOut(
                f"the job ran longer than {job.request.timeout_s:g} s",
                timeout_s=job.request.timeout_s,
                partial=outcomes.partial(job, self.tokenizer),
            )
            self._fail(job, late)

    def _admit(self) -> None:
        """Give places to waiting rows, one by one, as long as there are some for those in turn."""
        planned_until = time.monotonic() + PLANNING_S
        while job := self._scheduler.next():
            if not job.planned:
                self._plan(job)
                if time.monotonic() > planned_until:
                    return
                continue
            row = self._scheduler.admit(job)
            if job.admitted_at is None:
                job.admitted_at = time.monotonic()
            if row.prompt.is_prefilled:
                self._start(row)

    def _plan(self, job: ActiveJob) -> None:
        """Plan a job's next prompt when its turn comes."""
        try:
            plan_next(job, self.tokenizer, self.model.info, self._scheduler.segments.capacity)
        except DistilqError as error:
            self._fail(job, error)
        except Exception as error:
            log.exception("job %s cannot be planned", job.key)
            self._fail(job, GenerationFailed(_described(error)))

    def _forward(self) -> None:
        """One pass of the model: decode the rows that are ready, prefill for those that are not."""
        rows, chunks = self._scheduler.ready(), self._scheduler.chunks()
        if not rows and not chunks:
            return
        self._note_start(rows)
        logits, found = self.model.forward(rows, chunks)
        before = self._prefilled
        for chunk, candidates in zip(chunks, found, strict=True):
            self._note_prefilled(chunk, candidates)
        self._recent[self._passes % RECENT_PASSES] = (len(rows), self._prefilled - before)
        self._passes += 1
        if rows:
            self._decode(rows, self.model.sample(logits, rows))

    def _note_prefilled(self, chunk: Chunk, found: Sequence[Candidates]) -> None:
        prompt = chunk.prompt
        if prompt.logprobs is not None and chunk.wants_logits:
            ids = prompt.ids[chunk.start + 1 : chunk.stop + 1]
            prompt.logprobs += outcomes.logprobs(ids, found, self.tokenizer)
        self._scheduler.prefills.note(chunk)
        self._prefilled += chunk.stop - chunk.start
        if prompt.is_prefilled:
            for row in list(prompt.admitted):
                self._start(row)

    def _start(self, row: Row) -> None:
        """Bring a prefilled prompt's keys into a row's segment, and let it decode."""
        holder = _holder(row.prompt)
        if holder is not row:
            self.model.copy(holder.place, row.place, row.prompt.to_prefill)
        self._scheduler.start(row)
        if not row.prompt.new_tokens:
            row.finish_reason = "length"
            self._retire(row)

    def _decode(self, rows: Sequence[Row], draws: Draws) -> None:
        self._steps += 1
        self._row_steps += len(rows)
        self._observe_step(rows)
        before = self._generated
        for number, row in enumerate(rows):
            if row.to_replay:  # its token is known: the step was for its keys
                row.to_replay -= 1
            else:
                self._generated += 1
                self._emit(row, number, draws)
        self.observations.count("generated_tokens", self._generated - before)

    def _observe_step(self, rows: Sequence[Row]) -> None:
        """Every row that had a token before gets its next one now."""
        now = time.monotonic()
        going = sum(1 for row in rows if row.tokens and not row.to_replay)
        if going and self._decoded_at:
            self.observations.observe("time_between_tokens", now - self._decoded_at, times=going)
        self.observations.observe("batch_rows", len(rows))
        self._decoded_at = now

    def _note_start(self, rows: Sequence[Row]) -> None:
        for row in rows:
            job = row.prompt.job
            if job.first_token_at is None:
                job.steps_before, job.row_steps_before = self._steps, self._row_steps

    def _emit(self, row: Row, number: int, draws: Draws) -> None:
        """Append a row's new token; retire the row if that was its last."""
        job = row.prompt.job
        if job.ended:
            return
        try:
            if number in draws.failed:
                raise draws.failed[number]
            row.tokens.append(draws.tokens[number])
            job.tokens_done += 1
            if job.first_token_at is None:
                job.first_token_at = time.monotonic()
            if found := draws.candidates.get(number):
                row.logprob_sum += found.logprob
                if row.parameters.logprobs is not None:
                    row.logprobs += outcomes.logprobs(row.tokens[-1:], [found], self.tokenizer)
            ends = self._ends(row)
            if job.request.stream:
                self._tell(row, last=ends)
            if ends:
                self._retire(row)
        except Exception as error:
            log.exception("job %s failed", job.key)
            self._fail(job, GenerationFailed(_described(error)))

    def _tell(self, row: Row, *, last: bool) -> None:
        logprob = row.logprobs[-1] if row.logprobs else None
        self._emitted.append(Emitted(row, row.tokens[-1], len(row.tokens) - 1, last, logprob))

    def _ends(self, row: Row) -> bool:
        """Whether a row's newest token is its last; notes why."""
        if row.tokens[-1] in self.model.info.eos_token_ids:
            row.finish_reason = "eos_token"
        elif row.parameters.stop and self._stops(row):
            row.finish_reason = "stop_sequence"
        elif len(row.tokens) >= row.prompt.new_tokens:
            row.finish_reason = "length"
        return row.finish_reason is not None

    def _stops(self, row: Row) -> bool:
        """Look for stop strings: in the last tokens, and only if one is there in the whole text."""
        stops = row.parameters.stop
        tail = self.tokenizer.decode(row.tokens[-tokens.tail_tokens(stops) :])
        if tokens.find_stop(tail, stops) is None:
            return False
        found = tokens.find_stop(self.tokenizer.decode(row.tokens), stops)
        row.stop = found[1] if found else None
        return found is not None

    def _retire(self, row: Row) -> None:
        """Take a finished row out; its job ends with its last row."""
        row.text = outcomes.text_of(row, self.tokenizer)
        job = row.prompt.job
        job.sequences_done += 1
        heir = self._scheduler.release(row)
        if heir and not heir.prompt.new_tokens:
            heir.finish_reason = "length"
            self._retire(heir)
        if job.sequences_done == len(job.rows) and not job.ended:
            self._end(job, outcomes.succeeded(job, self._run(job), self.tokenizer))

    def _fail(self, job: ActiveJob, error: DistilqError) -> None:
        if not job.ended:
            self._end(job, outcomes.failed(job, self._run(job), error))
        self._scheduler.drop(job)

    def _fail_running(self, error: Exception) -> None:
        """A step went wrong as a whole: end its jobs, and begin with an empty cache."""
        for job in self._scheduler.running_jobs():
            self._fail(job, GenerationFailed(_described(error)))
        self.model.reserve(self._scheduler.segments.capacity)

    def _end(self, job: ActiveJob, outcome: Outcome) -> None:
        job.ended = True
        with self._arrived:
            del self._jobs[job.key]
        self._finished.append((job.key, outcome))

    def _run(self, job: ActiveJob) -> outcomes.Run:
        steps = self._steps - job.steps_before
        mean = (self._row_steps - job.row_steps_before) / steps if steps else None
        return outcomes.Run(ended_at=time.monotonic(), steps=steps, batch_size=mean)


def _holder(prompt: Prompt) -> Row:
    """A row whose segment holds the prompt's keys: one that decodes, else the one prefilled."""
    return next((other for other in prompt.admitted if other.ready), prompt.admitted[0])


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
