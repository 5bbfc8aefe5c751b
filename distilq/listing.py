"""Read-only views over many jobs: places in the queue, pages of jobs, the queue, the workers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from distilq import keys
from distilq.cluster import QueueLevel, QueueState, WorkerState
from distilq.connection import RedisClient
from distilq.errors import InvalidParameters, WorkerNotFound
from distilq.jobs import FINAL, JobStatus, Priority, QueuePlace

#: Messages looked at for the oldest job that is still queued; canceled ones leave theirs behind.
LOOKED_AT = 16
OWNERS_LOOKED_AT = 16

#: Seconds over which the drain rate is taken.
DRAIN_WINDOW_S = 60

#: What `page` gives as `next`: a submission's number, below 2^53 as every score of a ZSET.
CURSOR = re.compile("[0-9a-f]{1,13}")


def place(
    record: Mapping[bytes, bytes], counters: Mapping[bytes, bytes], drained_per_s: float
) -> QueuePlace:
    """Where a queued job stands, in O(1): its sequence number less the last one served.

    Canceled jobs in front of it still count. Of jobs of other owners as many count as of its own:
    they take turns.
    """
    priority, owner = record[b"priority"].decode(), record.get(b"owner", b"").decode()
    mark = f"{priority}@{owner}" if owner else priority
    own, all_ = _int(counters, f"jobs:{mark}"), _int(counters, f"jobs:{priority}")
    ahead = min(max(int(record[b"seq"]) - _int(counters, f"out:{mark}"), 1), max(own, 1))
    level = min(ahead + min(all_ - own, ahead), max(all_, 1)) if owner else ahead
    urgent = keys.PRIORITIES[: keys.PRIORITIES.index(priority)]
    position = level + sum(_int(counters, f"jobs:{p}") for p in urgent)
    eta_s = round(position / drained_per_s, 1) if drained_per_s else None
    return QueuePlace(priority=Priority(priority), position=position, eta_s=eta_s)


def place_counters(owner: str) -> list[str]:
    """Names of the counters that `place` reads, whichever priority a job of this owner has."""
    marks = [f"{p}@{owner}" if owner else p for p in keys.PRIORITIES]
    own = [f"{count}:{mark}" for mark in marks for count in ("jobs", "out")]
    return own + [f"jobs:{p}" for p in keys.PRIORITIES if owner]


def place_of_new(
    priority: Priority,
    owner: str,
    counters: Sequence[bytes | None],
    drained: Sequence[bytes | None],
) -> QueuePlace:
    """The place of a job that has just been queued, from the answer of `lua/submit.lua`."""
    mark = f"{priority.value}@{owner}" if owner else priority.value
    names = [f"in:{mark}", f"out:{mark}", f"jobs:{mark}", *(f"jobs:{p}" for p in keys.PRIORITIES)]
    found = present([name.encode() for name in names], counters)
    record = {b"priority": priority.value.encode(), b"owner": owner.encode()}
    record[b"seq"] = found[b"in:" + mark.encode()]
    return place(record, found, drained_per_s(drained))


def present(names: Sequence[bytes], values: Sequence[bytes | None]) -> dict[bytes, bytes]:
    """What HMGET has found, by its name."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def drain_keys(model: str) -> list[str]:
    """The counters of jobs finished in the last minute, the running bucket left out.

    By this machine's clock: where it is off by seconds, so is the minute.
    """
    bucket = int(time.time()) // keys.DRAIN_BUCKET_S
    width = DRAIN_WINDOW_S // keys.DRAIN_BUCKET_S
    return [f"{keys.drain(model)}{bucket - i}" for i in range(1, width + 1)]


def drained_per_s(counts: Iterable[bytes | None]) -> float:
    """Finished jobs per second, from the values of `drain_keys`."""
    return sum(int(count or 0) for count in counts) / DRAIN_WINDOW_S


def drain_rate(redis: RedisClient, model: str) -> float:
    return drained_per_s(redis.mget(drain_keys(model)))


def eta_s(redis: RedisClient, model: str, jobs: int) -> float | None:
    """Seconds until this many jobs have been served, at the rate of the last minute."""
    rate = drain_rate(redis, model)
    return round(jobs / rate, 1) if rate else None


def queue_state(redis: RedisClient, model: str, workers: Sequence[WorkerState]) -> QueueState:
    counters = redis.hgetall(keys.counters(model))
    queued = max(0, _int(counters, "jobs"))
    rate = drain_rate(redis, model)
    return QueueState(
        model=model,
        queued=queued,
        queued_tokens=max(0, _int(counters, "tokens")),
        running=redis.zcard(keys.leases(model)),
        priorities={p: _level(redis, model, p, counters) for p in keys.PRIORITIES},
        drain_jobs_per_s=round(rate, 3),
        paused=_paused(redis, model),
        eta_s=round(queued / rate, 1) if rate else None,
        workers=sum(not worker.draining for worker in workers),
    )


def _paused(redis: RedisClient, model: str) -> list[Priority]:
    found = redis.smembers(keys.paused(model))
    return [Priority(p) for p in keys.PRIORITIES if p.encode() in found]


def _level(
    redis: RedisClient, model: str, priority: str, counters: Mapping[bytes, bytes]
) -> QueueLevel:
    return QueueLevel(
        jobs=max(0, _int(counters, f"jobs:{priority}")),
        tokens=max(0, _int(counters, f"tokens:{priority}")),
        oldest_age_s=max(_ages(redis, model, priority), default=None),
    )


def _ages(redis: RedisClient, model: str, priority: str) -> Iterator[float]:
    """Ages in seconds of the oldest queued jobs of the owners that are due first."""
    for owner in redis.zrange(keys.ring(model, priority), 0, OWNERS_LOOKED_AT - 1):
        queue = keys.queue(model, priority, owner.decode())
        for message in reversed(redis.lrange(queue, -LOOKED_AT, -1)):
            status, created = redis.hmget(keys.job(_id_of(message)), "status", "created")
            if status == b"queued":
                yield round(max(0.0, time.time() - int(created) / 1000), 3)
                break


def _id_of(message: bytes) -> str:
    try:
        return str(json.loads(message)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def page(
    redis: RedisClient, owner: str | None, status: JobStatus | None, limit: int, cursor: str | None
) -> tuple[list[str], str | None]:
    """Ids of one page, newest first, and the cursor of the next; `owner` None: of all owners.

    One index per status, merged here: each gives at most one page, read in one transaction so that
    a job on its way from one to the next is seen once.
    """
    below = "+inf" if cursor is None else f"({_order_of(cursor)}"
    pipe = redis.pipeline(transaction=True)
    for s in JobStatus if status is None else [status]:
        pipe.zrevrangebyscore(_index(s, owner), below, "-inf", 0, limit + 1, withscores=True)
    newest = sorted(((o, i) for found in pipe.execute() for i, o in found), reverse=True)
    chosen = newest[:limit]
    following = f"{int(chosen[-1][0]):x}" if len(newest) > limit else None
    return [job_id.decode() for _, job_id in chosen], following


def _index(status: JobStatus, owner: str | None) -> str:
    return keys.INDEX_PREFIX + status.value + (f"@{owner}" if owner else "")


def drop_gone(redis: RedisClient, owner: str | None, job_ids: Sequence[str]) -> None:
    """Take expired jobs out of the indexes, so that nobody has to leaf through them again."""
    if job_ids:
        pipe = redis.pipeline(transaction=False)
        for status in FINAL:
            pipe.zrem(_index(status, None), *job_ids)
            if owner:
                pipe.zrem(_index(status, owner), *job_ids)
        pipe.execute()


def _order_of(cursor: str) -> int:
    if CURSOR.fullmatch(cursor):
        return int(cursor, 16)
    detail = "must be the `next` of an earlier page"
    raise InvalidParameters(errors=[{"parameter": "cursor", "code": "invalid", "detail": detail}])


def workers(redis: RedisClient, model: str) -> list[WorkerState]:
    """The workers of this model whose heartbeat is fresh, oldest first."""
    seconds, _ = redis.time()
    alive = redis.zrangebyscore(keys.WORKERS, (seconds - keys.HEARTBEAT_S) * 1000, "+inf")
    pipe = redis.pipeline(transaction=False)
    for worker_id in alive:
        pipe.mget(keys.worker(worker_id.decode()), keys.draining(worker_id.decode()))
    states = [_worker(raw, draining=mark is not None) for raw, mark in pipe.execute() if raw]
    same = [state for state in states if keys.slug(state.model) == keys.slug(model)]
    return sorted(same, key=lambda state: state.started_at)


def one_of(workers: Iterable[WorkerState], worker_id: str) -> WorkerState:
    """Raises WorkerNotFound."""
    for worker in workers:
        if worker.id == worker_id:
            return worker
    raise WorkerNotFound("see GET /v1/workers for those that are alive")


def _worker(raw: bytes, *, draining: bool) -> WorkerState:
    return WorkerState.model_validate_json(raw).model_copy(update={"draining": draining})


def _int(counters: Mapping[bytes, bytes], field: str) -> int:
    return int(counters.get(field.encode(), b"0"))
