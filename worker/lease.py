"""Holdings: the jobs this process holds, from claim to finish, and the threads that keep them.

The transport puts claims in, the pool takes them out; both see only this object.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable

from redis.exceptions import RedisError

from distilq.claims import Claim, Claims
from distilq.cluster import WorkerState
from distilq.histograms import Observations

from .watchdog import Watchdog

log = logging.getLogger("distilq.lease")

#: Seconds between two renewals, which also carry progress and heartbeat; a lease lives LEASE_S.
TICK_S = 1.0


#: Seconds after which a claim that did not come to the pool is handed back.
IDLE_S = 10.0


class Holdings:
    """Which jobs this worker holds. Safe to use from any thread."""

    def __init__(self, claims: Claims, max_rows: int, max_tokens: int) -> None:
        self.claims = claims
        # An eighth more than fits in the batch, so that a freed row is filled without a round trip.
        self._rows = max_rows + max(1, max_rows // 8)
        self._tokens = max_tokens + max_tokens // 8
        self._held: dict[str, Claim] = {}
        #: Since when a claim is held that the pool has not taken over.
        self._idle: dict[Claim, float] = {}
        self._lock = threading.Lock()
        self._waits_for_urgent = False

    def has_room(self) -> bool:
        with self._lock:
            return self._free_rows() > 0 and self._free_tokens() > 0

    def has_urgent_room(self) -> bool:
        """Whether an interactive job could take the place of bulk rows."""
        with self._lock:
            return self._urgent_rows() > 0

    @property
    def is_draining(self) -> bool:
        """Whether the last claim was refused because this worker is to take nothing more."""
        return self.claims.draining

    def wait_for_urgent_alone(self) -> bool:
        """Whether there is no room but for interactive jobs; if so, `drop` says when there is."""
        with self._lock:
            full = self._free_rows() <= 0 or self._free_tokens() <= 0
            self._waits_for_urgent = full
            return full

    def take(self, queues: Collection[str] | None = None) -> list[Claim]:
        """Claim as many jobs as there is room for, from these queues."""
        with self._lock:
            held, rows, tokens = len(self._held), self._free_rows(), self._free_tokens()
            urgent = self._urgent_rows()
        claimed = self.claims.take(rows, queues, held=held, tokens=tokens, urgent_rows=urgent)
        now = time.monotonic()
        with self._lock:
            self._held.update((claim.id, claim) for claim in claimed)
            self._idle.update((claim, now) for claim in claimed)
        return claimed

    def note_taken_over(self, claim: Claim) -> None:
        with self._lock:
            self._idle.pop(claim, None)

    def idle(self, for_s: float) -> list[Claim]:
        """What has been held so long without anybody working on it."""
        until = time.monotonic() - for_s
        with self._lock:
            return [claim for claim, since in self._idle.items() if since <= until]

    def get(self, job_id: str) -> Claim | None:
        return self._held.get(job_id)

    def all(self) -> list[Claim]:
        with self._lock:
            return list(self._held.values())

    def hand_back(self, claim: Claim) -> None:
        """Give up a claim that nobody works on; raises redis.RedisError, and then keeps it."""
        self.claims.release([claim])
        self.drop([claim])

    def drop(self, claims: Iterable[Claim]) -> bool:
        """Let go of these very claims; a newer claim of the same job stays.

        Returns:
            Whether the transport waits for interactive jobs alone and has to be told of the room.
        """
        with self._lock:
            for claim in claims:
                self._idle.pop(claim, None)
                if self._held.get(claim.id) == claim:
                    del self._held[claim.id]
            tell = self._waits_for_urgent and self._free_rows() > 0 and self._free_tokens() > 0
            self._waits_for_urgent = self._waits_for_urgent and not tell
            return tell

    def _free_rows(self) -> int:
        if self._is_closed():
            return 0
        return self._rows - sum(claim.rows for claim in self._held.values())

    def _free_tokens(self) -> int:
        return self._tokens - sum(claim.cost for claim in self._held.values())

    def _is_closed(self) -> bool:
        """Whether nothing may join what is held: a job that must run alone is here, or waits."""
        if not self._held:
            return False
        return self.claims.asked_to_empty or any(claim.alone for claim in self._held.values())

    def _urgent_rows(self) -> int:
        """Rows that bulk jobs hold, less those of interactive jobs that may have taken them."""
        if self._is_closed():
            return 0
        rows = {"interactive": 0, "normal": 0, "bulk": 0}
        for claim in self._held.values():
            rows[claim.priority] += claim.rows
        over = max(0, -self._free_rows())
        return max(0, rows["bulk"] - over)


class Keeper:
    """The threads that talk to Redis on behalf of the running jobs.

    One renews leases, reports progress and beats, as long as the engine moves; one listens for
    cancels.
    """

    def __init__(
        self,
        holdings: Holdings,
        *,
        progress: Callable[[], dict[str, tuple[int, int]]],
        stop_job: Callable[[Claim, str], None],
        state: Callable[[], WorkerState],
        observations: Observations,
        watchdog: Watchdog,
    ) -> None:
        self._holdings = holdings
        self._claims = holdings.claims
        self._progress = progress
        self._stop_job = stop_job
        self._state = state
        self._observations = observations
        self._watchdog = watchdog
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, daemon=True, name="keeper"),
            threading.Thread(target=self._hear_cancels, daemon=True, name="cancels"),
        ]

    def start(self) -> None:
        try:
            self.beat()
        except RedisError as error:  # it went while the model was loaded; the next beat is due soon
            log.warning("not on the list of workers yet: %s", error)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=2 * TICK_S + 5)

    def beat(self) -> None:
        """Give away a heartbeat and what has been observed. Raises redis.RedisError."""
        observed = self._observations.take()
        try:
            self._claims.beat(self._state(), observed)
        except RedisError:
            self._observations.give_back(observed)
            raise

    def _keep(self) -> None:
        while not self._stopped.wait(TICK_S):
            moving = self._watchdog.look()
            try:
                self.hand_back_idle(IDLE_S)
                if moving:
                    self._renew()
                self.beat()
            except RedisError as error:
                log.warning("leases not renewed: %s", error)
            except Exception:  # without this thread every lease of this worker would lapse
                log.exception("leases not renewed")
        self._watchdog.rest()

    def hand_back_idle(self, for_s: float) -> None:
        """Queue again what Celery kept to itself: rate limited, or lost with its connection."""
        for claim in self._holdings.idle(for_s):
            facts = {"job_id": claim.id, "request_id": claim.request_id}
            log.warning("job %s never came to the engine; queued again", claim.id, extra=facts)
            self._holdings.hand_back(claim)

    def _renew(self) -> None:
        done = self._progress()
        held = {claim: done.get(claim.key, (0, 0)) for claim in self._holdings.all()}
        if not held:
            return
        stop = self._claims.renew(held)
        for claim in held:  # not what Holdings says by now: that may be a newer claim
            if claim.id in stop:
                self._stop_job(claim, stop[claim.id])

    def _hear_cancels(self) -> None:
        while not self._stopped.is_set():
            try:
                job_id = self._claims.next_cancel(TICK_S)
                claim = self._holdings.get(job_id) if job_id else None
                if claim is not None:
                    self._stop_job(claim, "canceling")
            except RedisError as error:
                log.warning("cancels not heard: %s", error)
                self._stopped.wait(TICK_S)
