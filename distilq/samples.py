"""Sampling the last hour into Redis: one entry of a stream per step, whoever takes it.

Every process with a sweeper looks once per step whether there is one. That costs Redis one command,
and of the process that finds none some twenty more (docs/running.md has the figures).
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

from pydantic import ValidationError

from distilq import histograms as observed
from distilq import keys, listing
from distilq.connection import RedisClient
from distilq.scripts import Scripts
from distilq.stats import STEP_S, WINDOW_S, Sample, times_of

#: Milliseconds for which a sample is kept: one step longer than it is shown.
KEPT_MS = (WINDOW_S + STEP_S) * 1000


class Samples:
    """The samples of one model. Any method may raise redis.RedisError."""

    def __init__(self, redis: RedisClient, scripts: Scripts, model: str) -> None:
        self._redis = redis
        self._scripts = scripts
        self._model = model
        self._key = keys.samples(model)
        self._step: int | None = None

    def keep_if_due(self, now_s: float) -> bool:
        """Keep a sample of this step, by Redis' clock, unless somebody has; whether it was kept.

        What fails is not tried again in the same step.
        """
        step = int(now_s // STEP_S)
        if step == self._step:
            return False
        self._step = step
        newest = self.newest(1)
        return self.keep() if not newest or newest[0].step != step else False

    def keep(self) -> bool:
        """Keep how it stands now, unless there is a sample of this step; whether it was kept."""
        sample = self.take().model_dump_json(exclude={"at"})
        args: list[str | int] = [sample, STEP_S * 1000, KEPT_MS]
        return bool(self._scripts.sample(keys=[self._key], args=args))

    def take(self) -> Sample:
        """How it stands now."""
        workers = listing.workers(self._redis, self._model)
        queue = listing.queue_state(self._redis, self._model, workers)
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(keys.histograms(self._model))
        pipe.hmget(keys.ended(self._model), "succeeded", "failed")
        pipe.time()
        fields, (succeeded, failed), (seconds, micros) = pipe.execute()
        return Sample(
            at=datetime.fromtimestamp(seconds + micros / 1e6, timezone.utc),
            queued={name: level.jobs for name, level in queue.priorities.items()},
            oldest_age_s={name: level.oldest_age_s for name, level in queue.priorities.items()},
            running=queue.running,
            workers=len(workers),
            rows=sum(worker.rows for worker in workers),
            succeeded=int(succeeded or 0),
            failed=int(failed or 0),
            tokens=observed.total(fields, "generated_tokens"),
            times=times_of(observed.read(fields)),
        )

    def last_hour(self) -> list[Sample]:
        """Oldest first."""
        seconds, _ = self._redis.time()
        since = f"{(seconds - WINDOW_S) * 1000}-0"
        return _read(self._redis.xrevrange(self._key, "+", since))

    def newest(self, count: int) -> list[Sample]:
        """So many at most, oldest first."""
        return _read(self._redis.xrevrange(self._key, count=count))


def _read(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Sample]:
    """The samples of entries, which are the newest first; without those of another version."""
    found: list[Sample] = []
    for entry_id, fields in reversed(entries):
        at = datetime.fromtimestamp(int(entry_id.split(b"-")[0]) / 1000, timezone.utc)
        try:
            found.append(Sample.model_validate({**json.loads(fields[b"sample"]), "at": at}))
        except (ValidationError, ValueError, KeyError, TypeError):
            continue
    return found
