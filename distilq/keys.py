"""Every Redis key and every TTL, in one place.

Keys that belong to one model's queue carry the model's slug, so that workers of different models
share one Redis without meeting.
"""

from __future__ import annotations

import re

#: Version of the job record and of the queue message. A worker hands back what is newer.
VERSION = 1

#: Queues in the order in which they are served.
PRIORITIES = ("interactive", "normal", "bulk")

#: Seconds a finished job's id is still known after its text has expired (410 rather than 404).
TOMBSTONE_S = 86_400

#: Seconds without a renewal after which a running job belongs to nobody.
LEASE_S = 15

#: Seconds without a heartbeat after which a worker no longer counts as alive.
HEARTBEAT_S = 15

#: Seconds a part of a batch may stay staged before Redis forgets it.
STAGING_S = 600

#: Width in seconds of one bucket of the drain-rate counter, and how many buckets are kept.
DRAIN_BUCKET_S, DRAIN_BUCKETS = 10, 12

#: ZSET per status, of job ids by the order of their submission.
INDEX_PREFIX = "distilq:jobs:"
#: ZSET of finished job ids by the time in ms at which their record expires: the tombstones.
EXPIRY = "distilq:expiry"
#: ZSET of worker ids by the time in ms of their last heartbeat.
WORKERS = "distilq:workers"
#: HASH of counters since the first start: submitted, succeeded, failed, …, generated_tokens.
TOTALS = "distilq:totals"


def slug(model: str) -> str:
    """The model's name in keys and queue names: `random:distilgpt2` gives `random-distilgpt2`.

    A directory gives its last component, so that machines may keep the model in different places.
    """
    name = model.rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-") or "model"


def job(job_id: str) -> str:
    """HASH: the job record."""
    return f"distilq:job:{job_id}"


def worker(worker_id: str) -> str:
    """HASH: what a worker says of itself; lives HEARTBEAT_S from the last heartbeat."""
    return f"distilq:worker:{worker_id}"


def cancels(worker_id: str) -> str:
    """LIST of ids of running jobs that this worker has to stop."""
    return f"distilq:cancels:{worker_id}"


def waiters(api_id: str) -> str:
    """Pub/sub channel on which an API process hears that a job it waits for has finished."""
    return f"distilq:waiters:{api_id}"


def queue(model: str, priority: str) -> str:
    """LIST of Celery messages, newest at the left; also the Celery queue's name."""
    return f"distilq.{slug(model)}.{priority}"


def wake(model: str) -> str:
    """LIST of tokens, one per worker that ought to look at the queues."""
    return f"distilq:{slug(model)}:wake"


def leases(model: str) -> str:
    """ZSET of running job ids by the time in ms at which their lease lapses."""
    return f"distilq:{slug(model)}:leases"


def dead(model: str) -> str:
    """LIST of messages that no worker could read."""
    return f"distilq:{slug(model)}:dead"


def counters(model: str) -> str:
    """HASH: per priority `jobs:P` and `tokens:P` queued, `in:P` and `out:P` sequence numbers."""
    return f"distilq:{slug(model)}:counters"


def drain(model: str) -> str:
    """Prefix of the counters of finished jobs per DRAIN_BUCKET_S."""
    return f"distilq:{slug(model)}:drain:"


def staging(batch_id: str) -> str:
    """LIST of the ids of a batch that is not committed yet."""
    return f"distilq:staging:{batch_id}"
