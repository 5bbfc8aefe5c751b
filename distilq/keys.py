"""Every Redis key and every TTL, in one place.

Keys that belong to one model's queue carry the model's slug, so that workers of different models
share one Redis without meeting.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

#: Version of the job record, of the defaults that it leaves out, and of the queue message. A worker
#: hands back what is newer.
VERSION = 1

#: Queues in the order in which they are served.
PRIORITIES = ("interactive", "normal", "bulk")

#: Seconds a finished job's id is still known after its text has expired (410 rather than 404).
TOMBSTONE_S = 86_400

#: Seconds without a renewal after which a running job belongs to nobody. With a second each for the
#: last renewal, the sweep and the next claim it runs again within 15 s of its worker's death.
LEASE_S = 12

#: Seconds without a heartbeat after which a worker no longer counts as alive.
HEARTBEAT_S = 15

#: Seconds after its last heartbeat for which a worker's id is still listed, and stays drained.
FORGET_WORKER_S = 3_600

#: Seconds a part of a batch may stay staged before Redis forgets it.
STAGING_S = 600

#: Seconds for which an idempotency key is known. Not longer than a tombstone: what a key stands for
#: may be gone, but never unknown.
ONCE_S = 86_400

#: Seconds for which another call with the same key is told that a batch is being written. One that
#: takes longer is made once all the same, and a process that dies keeps nobody off for longer.
IN_FLIGHT_S = 10

#: Width in seconds of one bucket of the drain-rate counter, and how many buckets are kept.
DRAIN_BUCKET_S, DRAIN_BUCKETS = 10, 12

#: Seconds for which the process that sweeps stays the one that does.
SWEEPER_S = 5

#: ZSET per status, of job ids by the order of their submission; `STATUS@OWNER` for those of one.
INDEX_PREFIX = "distilq:jobs:"
#: ZSET of finished job ids by the time in ms at which their record expires: the tombstones.
EXPIRY = "distilq:expiry"
#: HASH of owner by id, for finished jobs that have one; the tombstone's half of EXPIRY.
OWNERS = "distilq:owners"
#: HASH per owner of the jobs that are queued or running.
FLIGHT = "distilq:flight"
#: ZSET of worker ids by the time in ms of their last heartbeat.
WORKERS = "distilq:workers"
#: HASH of API keys by their id: what they may do, and the SHA-256 of their secret.
API_KEYS = "distilq:api-keys"
#: ZSETs of file and batch ids by the time in s of their creation; `@OWNER`: of those of one.
FILES, BATCHES = "distilq:files", "distilq:batches"
#: ZSET of file ids by the time in s at which they expire.
FILE_EXPIRY = "distilq:files:expiry"
#: HASH of counters since the first start: submitted, succeeded, failed, …, generated_tokens.
TOTALS = "distilq:totals"
#: ZSET of the hosts that webhooks are to be sent to, by the time in ms at which one may be due.
OUTBOXES = "distilq:outboxes"


@lru_cache(maxsize=64)  # it stands in most keys, and a process has few models
def slug(model: str) -> str:
    """The model's name in keys and queue names: `random:distilgpt2` gives `random-distilgpt2`.

    A directory gives its last component, so that machines may keep the model in different places.
    """
    name = model.rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-") or "model"


def job(job_id: str) -> str:
    """HASH: the job record."""
    return f"distilq:job:{job_id}"


def events(job_id: str) -> str:
    """STREAM: the tokens of a job that streams; lives as long as its record."""
    return f"distilq:events:{job_id}"


def outbox(host: str) -> str:
    """ZSET of ids of finished jobs by the time in ms at which a host is told of them next.

    Who sends one moves it a lease further first, so that another sends it should the first die.
    """
    return f"distilq:outbox:{host}"


def delivery(job_id: str) -> str:
    """HASH: how telling a job's webhook goes; lives as long as the job's record.

    `state`; `host`; `next`: time in ms of the next attempt; `tries`: how often it was taken since
    it was asked for; `fence`; `attempts`: how many were noted, and `attempt:N`: the last of them.
    """
    return f"distilq:delivery:{job_id}"


def readers(api_id: str) -> str:
    """STREAM of one entry: an API process has something else to read."""
    return f"distilq:readers:{api_id}"


def worker(worker_id: str) -> str:
    """STRING: what a worker says of itself; lives HEARTBEAT_S from the last heartbeat."""
    return f"distilq:worker:{worker_id}"


def draining(worker_id: str) -> str:
    """STRING: this worker is to claim nothing more; lives FORGET_WORKER_S from the last heartbeat.

    No longer than the worker is known: the next process has another id.
    """
    return f"{worker(worker_id)}:draining"


def cancels(worker_id: str) -> str:
    """LIST of ids of running jobs that this worker has to stop."""
    return f"distilq:cancels:{worker_id}"


def claimed(worker_id: str) -> str:
    """STRING: number and jobs of a worker's last claim, in case the answer is lost."""
    return f"distilq:claimed:{worker_id}"


def nudge(worker_id: str) -> str:
    """LIST of tokens for this worker alone: it has room again."""
    return f"distilq:nudge:{worker_id}"


def waiters(api_id: str) -> str:
    """Pub/sub channel on which an API process hears that a job it waits for has finished."""
    return f"distilq:waiters:{api_id}"


def staging(batch_id: str) -> str:
    """LIST of the ids of a batch that is not committed yet."""
    return f"distilq:staging:{batch_id}"


def once(model: str, owner: str, key: str) -> str:
    """STRING: what was made of the submission with an owner's idempotency key (`distilq/once.py`).

    It lives ONCE_S; IN_FLIGHT_S while a batch is being written.
    """
    return _of(model, "once:" + hashlib.sha256(f"{owner} {key}".encode()).hexdigest()[:32])


def file(file_id: str) -> str:
    """STRING: what is known of a file, whose bytes are in the storage."""
    return f"distilq:file:{file_id}"


def file_place(file_id: str) -> str:
    """STRING: when a file was made that has been dropped, for the page behind it; for a day."""
    return f"{file(file_id)}:place"


def file_indexes(owner: str) -> list[str]:
    """The ZSETs that a file of this owner is in; the last has the owner's alone."""
    return [FILES, *([f"{FILES}@{owner}"] if owner else [])]


def batch(batch_id: str) -> str:
    """HASH: a batch, and how far it has come (`distilq/batches.py`)."""
    return f"distilq:batch:{batch_id}"


def batch_indexes(owner: str) -> list[str]:
    """The ZSETs that a batch of this owner is in; the last has the owner's alone."""
    return [BATCHES, *([f"{BATCHES}@{owner}"] if owner else [])]


def active_batches(model: str) -> str:
    """ZSET of batches that have not ended, by the time in ms at which somebody may take them up."""
    return _of(model, "batches")


def rate(key_id: str) -> str:
    """STRING: the time in microseconds at which an API key's quota is whole again."""
    return f"distilq:rate:{key_id}"


def queue(model: str, priority: str, owner: str = "") -> str:
    """LIST of Celery messages, newest at the left, under the name of a Celery queue."""
    return f"distilq.{slug(model)}.{priority}" + (f"@{owner}" if owner else "")


def ring(model: str, priority: str) -> str:
    """ZSET of the owners with queued jobs, by the virtual time at which they are due."""
    return _of(model, f"ring:{priority}")


def paused(model: str) -> str:
    """SET of the priorities whose jobs are not claimed for now."""
    return _of(model, "paused")


def suspects(model: str) -> str:
    """LIST of messages of jobs that must run alone, as workers have died under them."""
    return _of(model, "suspects")


def quarantine(model: str) -> str:
    """STRING: id of the worker that empties itself to run those."""
    return _of(model, "quarantine")


def wake(model: str, *, interactive: bool = False) -> str:
    """LIST of tokens, one per worker that ought to look at the queues."""
    return _of(model, "wake:interactive" if interactive else "wake")


def leases(model: str) -> str:
    """ZSET of running job ids by the time in ms at which their lease lapses."""
    return _of(model, "leases")


def deadlines(model: str) -> str:
    """ZSET of job ids by the time in ms until which they must have been started."""
    return _of(model, "deadlines")


def sweeper(model: str) -> str:
    """STRING: id of the process that sweeps, for SWEEPER_S."""
    return _of(model, "sweeper")


def dead(model: str) -> str:
    """ZSET of the dead list's ids by the time in ms at which they came there."""
    return _of(model, "dead")


def dead_entry(model: str, entry_id: str) -> str:
    """HASH: a message that nobody could read, or a job that killed its workers."""
    return _of(model, f"dead:{entry_id}")


def counters(model: str) -> str:
    """HASH: what is queued, and the numbers of those who came and were served.

    `jobs`, `tokens`: queued in all; `jobs:P`, `tokens:P`: of a priority; `in:P`, `out:P`: sequence
    numbers given and last served; `now:P`: virtual time of the ring, `due:P@O`: until which the
    owner O has had its share; `passed:P`: jobs of others claimed while P waited. `@O` behind any of
    the others: the same of one owner.
    """
    return _of(model, "counters")


def histograms(model: str) -> str:
    """HASH of what workers have observed (`distilq/histograms.py`), since the first start."""
    return _of(model, "histograms")


def ended(model: str) -> str:
    """HASH: jobs of this model that have ended, by status, since the first start."""
    return _of(model, "ended")


def samples(model: str) -> str:
    """STREAM: one entry per STEP_S of the last hour (`distilq/samples.py`), by its time in ms."""
    return _of(model, "samples")


def drain(model: str) -> str:
    """Prefix of the counters of finished jobs per DRAIN_BUCKET_S."""
    return _of(model, "drain:")


def _of(model: str, name: str) -> str:
    return f"distilq:{slug(model)}:{name}"
