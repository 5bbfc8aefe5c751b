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
from distilq.keys import LEASE_S

log = logging.getLogger("distilq.lease")

#: Seconds between two renewals, which also carry progress and heartbeat; a lease lives LEASE_S.
TICK_S = 1.0


class Holdings:
    """Which jobs this worker holds. Safe to use from any thread."""

    def __init__(self, claims: Claims, max_rows: int) -> None:
        self.claims = claims
        # An eighth more than fits in the batch, so that a freed row is filled without a round trip.
        self._limit = max_rows + max(1, max_rows // 8)
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()

    def free_rows(self) -> int:
        with self._lock:
            return self._limit - sum(claim.rows for claim in self._held.values())

    def take(self, queues: Collection[str] | None = None) -> list[Claim]:
        """Claim as many rows as there is room for, from these queues."""
        claimed = self.claims.take(self.free_rows(), queues)
        with self._lock:
            self._held.update((claim.id, claim) for claim in claimed)
        return claimed

    def get(self, job_id: str) -> Claim | None:
        return self._held.get(job_id)

    def all(self) -> list[Claim]:
        with self._lock:
            return list(self._held.values())

    def hand_back(self, claim: Claim) -> None:
        """Give up a claim that nobody works on; raises redis.RedisError, and then keeps it."""
        self.claims.release([claim])
        self.drop([claim])

    def drop(self, claims: Iterable[Claim]) -> None:
        """Let go of these very claims; a newer claim of the same job stays."""
        with self._lock:
            for claim in claims:
                if self._held.get(claim.id) == claim:
                    del self._held[claim.id]


class Keeper:
    """The threads that talk to Redis on behalf of the running jobs.

    One renews leases, reports progress and sweeps what dead workers left; one listens for cancels.
    Leases are renewed only while `is_stepping` says that the engine moves: a frozen engine loses
    its jobs to another worker.
    """

    def __init__(
        self,
        holdings: Holdings,
        *,
        progress: Callable[[], dict[str, tuple[int, int]]],
        stop_job: Callable[[Claim, str], None],
        state: Callable[[], WorkerState],
        is_stepping: Callable[[], bool],
    ) -> None:
        self._holdings = holdings
        self._claims = holdings.claims
        self._progress = progress
        self._stop_job = stop_job
        self._state = state
        self._is_stepping = is_stepping
        self._stopped = threading.Event()
        self._in_touch_since = time.monotonic()
        self._threads = [
            threading.Thread(target=self._keep, daemon=True, name="keeper"),
            threading.Thread(target=self._hear_cancels, daemon=True, name="cancels"),
        ]

    def start(self) -> None:
        self._claims.beat(self._state())
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=2 * TICK_S + 5)

    def _keep(self) -> None:
        renewed = 0.0
        while not self._stopped.wait(TICK_S):
            try:
                if self._is_stepping():
                    self._renew()
                    renewed = time.monotonic()
                    self._claims.beat(self._state())
                self._sweep(renewed)
            except RedisError as error:
                self._in_touch_since = time.monotonic()
                log.warning("leases not renewed: %s", error)
            except Exception:  # without this thread every lease of this worker would lapse
                log.exception("leases not renewed")

    def _renew(self) -> None:
        done = self._progress()
        held = {claim: done.get(claim.key, (0, 0)) for claim in self._holdings.all()}
        if not held:
            return
        stop = self._claims.renew(held)
        for claim in held:  # not what Holdings says by now: that may be a newer claim
            if claim.id in stop:
                self._stop_job(claim, stop[claim.id])

    def _sweep(self, renewed: float) -> None:
        """Not before Redis has answered for one lease period: others could not renew before."""
        now = time.monotonic()
        if now - self._in_touch_since > LEASE_S and now - renewed < LEASE_S:
            lapsed = self._claims.sweep()
            if lapsed:
                log.warning("%d leases had lapsed; their jobs are queued again", lapsed)

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
