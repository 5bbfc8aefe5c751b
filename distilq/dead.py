"""The dead list: jobs that killed their workers, and messages that nobody could read.

Nothing here is ever tried again by itself, and nothing is dropped but by hand.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel

from distilq import keys
from distilq.connection import RedisClient
from distilq.errors import NotOnDeadList, NotRequeueable
from distilq.jobs import Job, JobRequest
from distilq.owner import Owner
from distilq.store import JobStore


class DeadEntry(BaseModel):
    id: str
    died_at: datetime
    #: poisoned: its workers died; unreadable: no message of ours; unknown: of a job without record;
    #: foreign: of another model's job.
    reason: str
    #: Its deaths: worker, when it was started, when its lease lapsed.
    history: list[dict[str, Any]] = []
    message: str
    request: str | None = None
    owner: str = ""


class DeadList:
    """The dead list of one store's model. Any method may raise redis.RedisError."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._redis: RedisClient = store.redis

    def entries(self, limit: int = 100) -> list[DeadEntry]:
        """The newest first."""
        index = keys.dead(self._store.model)
        return [
            self.get(entry_id.decode()) for entry_id in self._redis.zrevrange(index, 0, limit - 1)
        ]

    def __len__(self) -> int:
        return int(self._redis.zcard(keys.dead(self._store.model)))

    def get(self, entry_id: str) -> DeadEntry:
        """Raises NotOnDeadList."""
        died_ms = self._redis.zscore(keys.dead(self._store.model), entry_id)
        if died_ms is None:
            raise NotOnDeadList(f"{entry_id} is not on the dead list")
        raw = self._redis.hgetall(keys.dead_entry(self._store.model, entry_id))
        found = {name.decode(): value.decode(errors="replace") for name, value in raw.items()}
        found["history"] = json.loads(found.pop("history", "[]"))
        died_at = datetime.fromtimestamp(died_ms / 1000, timezone.utc)
        return DeadEntry(id=entry_id, died_at=died_at, **found)

    def requeue(self, entry_id: str) -> Job:
        """Submit the request anew, as its owner's, under a new id: a final state never changes.

        Raises:
            NotOnDeadList, NotRequeueable, and what `JobStore.submit` does.
        """
        entry = self.get(entry_id)
        if entry.request is None:
            raise NotRequeueable(f"{entry_id} is {entry.reason}: there is nothing to run")
        owner = Owner(entry.owner, sees_all=True)
        job = self._store.owned_by(owner).submit(JobRequest.model_validate_json(entry.request))
        self.drop(entry_id)
        return job

    def drop(self, entry_id: str) -> None:
        """Raises NotOnDeadList."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrem(keys.dead(self._store.model), entry_id)
        pipe.delete(keys.dead_entry(self._store.model, entry_id))
        if not pipe.execute()[0]:
            raise NotOnDeadList(f"{entry_id} is not on the dead list")
