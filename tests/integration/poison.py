"""A job that ends on the dead list."""

from __future__ import annotations

from distilq import keys
from distilq.claims import Claims
from distilq.jobs import JobRequest, Priority
from distilq.owner import EVERYBODY, Owner
from distilq.store import JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper


def poison(store: JobStore, owner: Owner = EVERYBODY) -> str:
    """A job that has killed MAX_DEATHS workers."""
    job = store.owned_by(owner).submit(JobRequest(inputs="Ünter", priority=Priority.BULK))
    for number in range(MAX_DEATHS):
        assert Claims(store.redis, store.model, f"w{number}-{job.id}").take(8)
        store.redis.zadd(keys.leases(store.model), {job.id: 1})
        store.redis.delete(keys.sweeper(store.model))
        Sweeper(store.redis, store.model).sweep()
    return job.id
