"""EnginePool: a Celery pool that hands every job to one engine thread.

Celery delivers, accounts and shuts down; the engine batches. No thread per job: a completer writes
what a step gave, tokens of jobs that stream in one call and outcomes in another, then tells Celery.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.concurrency.base import BasePool
from celery.worker import state
from pydantic import ValidationError
from redis.exceptions import RedisError

from distilq import tracing
from distilq.claims import Claim, status_of
from distilq.errors import GenerationFailed
from distilq.jobs import JobRequest, Outcome
from distilq.logs import trace_id
from distilq.settings import Settings
from distilq.sweeper import Sweeper

from .engine import Engine
from .lease import Holdings, Keeper
from .loading import load_engine
from .names import NO_MODEL, ModelUnavailable
from .rows import Emitted
from .state import WorkerFace
from .streams import Streams
from .watchdog import EXIT_STATUS, Watchdog

if TYPE_CHECKING:
    from distilq.spans import Traces

log = logging.getLogger("distilq.pool")

#: Seconds that a thread gets at a stop to end what it is at.
JOIN_S = 10.0

#: Seconds after which a thread that computes in Python lets another do so (Python's own: 5 ms).
#: The engine's asks after each of torch's operations, a hundred times in a step.
SWITCH_S = 0.0002

#: Seconds between attempts to write results while Redis does not answer.
RETRY_S = 0.5

Done = list[tuple[str, Outcome]]


@dataclass
class Running:
    """A job between Celery and the engine. Celery keeps only a weak reference to it."""

    claim: Claim
    succeeded: Callable[[tuple[int, Any, float]], None]
    started: float

    def terminate(self, signal: int | None = None) -> None:
        """Celery calls this beside `EnginePool.terminate_job`, which does the work."""


def _loaded(settings: Settings) -> Engine:
    try:
        return load_engine(settings)
    except ModelUnavailable as error:
        # One line for whoever reads the log, and a status that says: do not try again.
        print(f"distilq: {error.detail}", file=sys.stderr, flush=True)
        os._exit(NO_MODEL)


def _ids(claim: Claim) -> dict[str, Any]:
    """By which a job is found in the log."""
    ids = {"job_id": claim.id, "request_id": claim.request_id}
    return {**ids, "trace_id": trace_id(claim.traceparent)} if claim.traceparent else ids


def _log_end(claim: Claim, outcome: Outcome) -> None:
    facts = {
        **_ids(claim),
        "status": status_of(outcome).value,
        "generated_tokens": outcome.usage.generated_tokens,
        "run_ms": outcome.metrics.run_ms,
    }
    if outcome.error is not None:
        facts["error"] = outcome.error["type"]
    log.info("job %s has %s", claim.id, facts["status"], extra=facts)


class EnginePool(BasePool):  # type: ignore[misc]  # celery has no types
    signal_safe = False
    body_can_be_buffer = True

    def on_start(self) -> None:
        """Load the model and start the threads; Celery consumes nothing before this returns."""
        settings: Settings = self.app.distilq_settings
        options = self.app.conf.broker_transport_options
        self.holdings: Holdings = options["holdings"]
        self.engine: Engine = _loaded(settings)
        self.face = WorkerFace(self.engine, settings, self.app.distilq_worker_id)
        self.traces = tracing.begin(settings, "distilq-worker")
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()
        #: What each step gave: tokens of jobs that stream, then outcomes. None ends the thread.
        self._given: queue.SimpleQueue[tuple[list[Emitted], Done] | None] = queue.SimpleQueue()
        self._streams = Streams(self.engine.tokenizer)
        self._hub: Any = None
        self._drain_s = settings.drain_s
        self._stopping = threading.Event()
        self._loops = 0
        self._threads = [
            threading.Thread(target=self._step, daemon=True, name="engine"),
            threading.Thread(target=self._complete, daemon=True, name="completer"),
        ]
        self.keeper = Keeper(
            self.holdings,
            progress=self.engine.progress,
            stop_job=self._stop_job,
            state=self.face.state,
            observations=self.engine.observations,
            watchdog=Watchdog(lambda: self._loops),
        )
        self.sweeper: Sweeper = self.app.distilq_sweeper
        sys.setswitchinterval(SWITCH_S)
        for thread in self._threads:
            thread.start()
        self.keeper.start()
        self.sweeper.start()

    def register_with_event_loop(self, hub: Any) -> None:
        self._hub = hub

    def on_apply(
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> Running | None:
        """Take over one delivered job. `target`, Celery's tracer, is never called."""
        job_id: str = args[1]
        claim = self.holdings.get(job_id)
        now = time.monotonic()
        accept_callback(job_id, now)
        if claim is None:  # stopped between its claim and here; Celery must not keep it as active
            callback((0, None, 0.0))
            return None
        running = Running(claim, callback, now)
        with self._lock:
            older = self._running.get(job_id)
            self._running[job_id] = running
        self.holdings.note_taken_over(claim)
        if log.isEnabledFor(logging.INFO):
            facts = {**_ids(claim), "attempt_fence": claim.fence, "queue_ms": claim.waited_ms}
            log.info("job %s starts", job_id, extra=facts)
        if older is None or older.claim != claim:
            self._submit(claim)
            if older is not None:  # lost and claimed again: what still runs of it ends unheard
                self.engine.cancel(older.claim.key)
        if self.holdings.get(job_id) != claim:  # stopped meanwhile, before the engine knew of it
            self.engine.cancel(claim.key)
        return running

    def _submit(self, claim: Claim) -> None:
        try:
            request = JobRequest.model_validate_json(claim.request)
        except ValidationError:
            log.exception("the request of job %s cannot be read", claim.id, extra=_ids(claim))
            problem = GenerationFailed("the worker cannot read the request").problem()
            self._given.put(([], [(claim.key, Outcome(error=problem))]))
        else:
            self.engine.submit(claim.key, request)

    def terminate_job(self, pid: str, signal: int | None = None) -> None:
        """Nothing to do here.

        A job that is revoked is canceled through its record (celery_app.RecordBackend). Celery asks
        this of every other job too when it is told to stop at once; those are handed back.
        """

    def _stop_job(self, claim: Claim, why: str) -> None:
        if why == "lost":
            self._drop([claim])
        elif self._taken_over(claim.key) is None:  # revoked: Celery never gave it to `on_apply`
            self.holdings.hand_back(claim)
        self.engine.cancel(claim.key)

    def _taken_over(self, key: str) -> Running | None:
        """What runs under this key of a claim; None if the job has been claimed anew since."""
        with self._lock:
            running = self._running.get(key.partition(".")[0])
        return running if running is not None and running.claim.key == key else None

    # The engine thread

    def _step(self) -> None:
        try:
            while not self._stopping.is_set():
                self._loops += 1
                if self.engine.wait(timeout=0.5):
                    done = self.engine.step()
                    emitted = self.engine.emitted()
                    if done or emitted:
                        self._given.put((emitted, done))
        except BaseException:
            # Nothing in this process can go on without its engine; the leases pass its jobs on.
            log.critical("the engine died", exc_info=True)
            os._exit(EXIT_STATUS)

    # The completer thread

    def _complete(self) -> None:
        try:
            while given := self._given.get():
                emitted, done = given
                self._emit(emitted)
                if done:
                    self._finish(done)
        except BaseException:
            log.critical("results cannot be written", exc_info=True)
            os._exit(EXIT_STATUS)  # as above

    def _emit(self, emitted: list[Emitted]) -> None:
        entries = [
            (running.claim, number, tokens)
            for key, number, tokens in self._streams.entries(emitted)
            if (running := self._taken_over(key)) is not None
        ]
        if entries:
            self._until_redis_answers(lambda: self.holdings.claims.emit(entries))

    def _finish(self, done: Done) -> None:
        found = [(self._taken_over(key), outcome) for key, outcome in done]
        finished = [(running, outcome) for running, outcome in found if running is not None]
        outcomes = [(r.claim, outcome) for r, outcome in finished]
        claims, served_by = self.holdings.claims, self.face.served_by
        self._until_redis_answers(lambda: claims.finish(outcomes, served_by))
        self._observe(outcomes)
        if log.isEnabledFor(logging.INFO):
            for claim, outcome in outcomes:
                _log_end(claim, outcome)
        if self.traces is not None:
            self._trace(finished, self.traces)
        self._drop(r.claim for r, _ in finished)
        for key, _ in done:
            self._streams.forget(key)
        with self._lock:
            for r, _ in finished:
                if self._running[r.claim.id].claim == r.claim:
                    del self._running[r.claim.id]
        if self._hub is not None:
            self._hub.call_soon(self._tell_celery, [r for r, _ in finished])

    def _observe(self, outcomes: list[tuple[Claim, Outcome]]) -> None:
        """Times from submission on, of what has just ended."""
        observe = self.engine.observations.observe
        for claim, outcome in outcomes:
            waited_s, times = claim.waited_ms / 1000, outcome.metrics
            observe("queue_time", waited_s, claim.priority)
            if times.time_to_first_token_ms is not None:
                first_s = times.time_to_first_token_ms / 1000
                observe("time_to_first_token", waited_s + first_s, claim.priority)
            if times.run_ms is not None:
                observe("end_to_end", waited_s + times.run_ms / 1000, claim.priority)

    def _trace(self, finished: list[tuple[Running, Outcome]], traces: Traces) -> None:
        """Spans of what has just ended here; of a claim that was lost there are none."""
        now, model = time.monotonic(), self.app.distilq_settings.model
        for running, outcome in finished:
            claim = running.claim
            if claim.traceparent and self.holdings.get(claim.id) == claim:
                try:
                    traces.ran(claim, outcome, model, now - running.started)
                except Exception:  # no job may suffer from its trace
                    log.exception("no spans of job %s", claim.id, extra=_ids(claim))

    def _drop(self, claims: Iterable[Claim]) -> None:
        if self.holdings.drop(claims):
            with suppress(RedisError):  # then it hears of the room when its wait is over
                self.holdings.claims.nudge()

    def _tell_celery(self, finished: list[Running]) -> None:
        now = time.monotonic()
        for running in finished:
            try:
                running.succeeded((0, None, now - running.started))
            except Exception:  # kombu runs callbacks unguarded: the others must be told too
                log.exception("Celery does not take the end of job %s", running.claim.id)

    def _until_redis_answers(self, write: Callable[[], None]) -> None:
        while True:
            try:
                return write()
            except RedisError as error:  # once per outage
                log.warning("results wait for Redis: %s", error)
                time.sleep(RETRY_S)

    # Stopping

    def flush(self) -> None:
        """Celery has lost its connection, and with it the jobs that it had not passed on yet."""
        self.keeper.hand_back_idle(0.0)

    def on_stop(self) -> None:
        """Finish what fits in the drain time and hand the rest back."""
        self._stop(self._drain_s)

    def on_terminate(self) -> None:
        """Hand everything back at once."""
        self._stop(0)

    def _stop(self, drain_s: float) -> None:
        deadline = time.monotonic() + drain_s
        while self.holdings.all() and time.monotonic() < deadline:
            if state.should_terminate not in (None, False):
                break  # SIGQUIT, or a second Ctrl-C: Celery stops the pool before it terminates it
            time.sleep(0.05)
        self._stopping.set()
        self._threads[0].join(timeout=JOIN_S)
        self._given.put(None)
        self._threads[1].join(timeout=JOIN_S)
        self.sweeper.stop()
        self.keeper.stop()
        self._hand_back()
        if self.traces is not None:
            self.traces.close()

    def _hand_back(self) -> None:
        try:
            self.holdings.claims.release(self.holdings.all())
            self.keeper.beat()
            self.holdings.claims.leave()
        except RedisError as error:
            log.warning("jobs not handed back, their leases will lapse: %s", error)
