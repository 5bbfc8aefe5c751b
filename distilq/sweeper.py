"""What is due although nobody asks: lapsed leases, missed start deadlines, old tombstones, samples.

Every worker and every API process has a sweeper, and one of them at a time sweeps, so that what is
promised holds with no worker alive. It keeps still until Redis has answered for a whole lease
period: after an outage, or a leap of Redis' clock, no worker has had the time to renew. Samples for
the last hour are taken by whichever comes first.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time

from redis.exceptions import RedisError

from distilq import keys, queue
from distilq.connection import RedisClient
from distilq.errors import Poisoned
from distilq.samples import Samples
from distilq.scripts import Scripts

log = logging.getLogger("distilq.sweeper")

#: Seconds between two sweeps.
TICK_S = 1.0

#: Seconds by which Redis' clock and this process's may part between two sweeps.
LEAP_S = 5.0

#: Lapsed leases after which a job is taken to be what kills its workers.
MAX_DEATHS = 5


def poisoned() -> str:
    """The error of such a job, as the script takes it: `@history@` stands for its deaths."""
    detail = f"{MAX_DEATHS} workers died or froze while they ran it"
    problem = Poisoned(detail, deaths=MAX_DEATHS, history="@history@").problem()
    return json.dumps(problem).replace('"@history@"', "@history@")


class Sweeper:
    def __init__(self, redis: RedisClient, model: str, sweeper_id: str | None = None) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._slug = keys.slug(model)
        self._samples = Samples(redis, self._scripts, model)
        self._id = sweeper_id or secrets.token_hex(8)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_touch_since: float | None = None
        self._clocks_apart: float | None = None
        #: By Redis' clock, when it was last looked at.
        self._now_s = 0.0

    def start(self) -> None:
        """Sweep from a thread of its own until `stop`; again after a fork, if called again."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="sweeper")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * TICK_S + 5)

    def _run(self) -> None:
        while not self._stopped.wait(TICK_S):
            try:
                if self.in_touch():
                    self.sweep()
            except RedisError as error:
                self._in_touch_since = None
                log.warning("not swept: %s", error)
            except Exception:  # without this thread nothing that is due would be done here
                log.exception("not swept")
            else:
                self._sample()

    def _sample(self) -> None:
        """Without it the last hour has a hole; nothing else must suffer from that."""
        try:
            self._samples.keep_if_due(self._now_s)
        except RedisError as error:
            log.warning("not sampled: %s", error)
        except Exception:
            log.exception("not sampled")

    def in_touch(self) -> bool:
        """Whether Redis has answered, by a clock that ran, for a whole lease period."""
        seconds, micros = self._redis.time()
        now = time.monotonic()
        self._now_s = seconds + micros / 1e6
        apart = self._now_s - now
        leapt = self._clocks_apart is not None and abs(apart - self._clocks_apart) > LEAP_S
        self._clocks_apart = apart
        if self._in_touch_since is None or leapt:
            self._in_touch_since = now
        return now - self._in_touch_since > keys.LEASE_S

    def sweep(self) -> int:
        """Do what is due; the number of leases that had lapsed, -1 if another process sweeps."""
        args: list[str | int] = [
            *(self._slug, self._id, keys.SWEEPER_S * 1000),
            *(MAX_DEATHS, poisoned(), queue.ENVELOPE),
        ]
        lapsed = int(self._scripts.sweep(args=args))
        if lapsed > 0:
            log.warning("%d leases had lapsed; their jobs are queued again", lapsed)
        return lapsed
