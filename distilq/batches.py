"""Batches: a file of requests that is worked through as jobs, and how far that has come.

A batch is cut into segments of consecutive lines. Whoever works at it holds it by a lease with a
fencing token; it submits a segment, waits for its jobs, writes their answers as one object into the
storage, and notes that here. So whoever takes over knows what is done, and does nothing twice.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Protocol

from pydantic import BaseModel, TypeAdapter
from typing_extensions import Self

from distilq import keys
from distilq.connection import RedisClient, reaches_redis
from distilq.errors import BatchNotFound, IdempotencyKeyReused
from distilq.files import unknown_after
from distilq.owner import EVERYBODY, Owner
from distilq.scripts import Scripts


class Superseded(Exception):
    """Somebody else holds the lease."""


#: Seconds for which nobody else takes a batch up; longer than what is done between two renewals.
LEASE_S = 30

Endpoint = Literal["/v1/completions", "/v1/jobs"]


class BatchStatus(str, Enum):
    """Where a batch stands, in OpenAI's words. The last four are final."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset(list(BatchStatus)[-4:])


class Segment(BaseModel):
    """Consecutive lines of the input."""

    offset: int
    length: int
    #: Number of its first line, from 1, and how many lines there are, blank ones among them.
    first: int
    lines: int
    #: Numbers of lines whose custom_id another line had before.
    twice: tuple[int, ...] = ()


class Part(BaseModel):
    """Rows in the storage: where, and how many bytes they are to a client."""

    path: str
    bytes: int


class Written(BaseModel):
    """A segment whose answers lie in the storage."""

    output: Part | None
    error: Part | None
    completed: int
    failed: int
    #: When the first and the last of its lines were done, in ms since 1970.
    first_ms: int
    last_ms: int

    @property
    def lines(self) -> int:
        return self.completed + self.failed


class LineError(BaseModel):
    """Why no line of the input could be run."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Counts(BaseModel):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Head(BaseModel):
    """What a batch was made with."""

    id: str
    owner: str = ""
    fingerprint: str
    endpoint: Endpoint
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] = {}
    #: Seconds since 1970.
    created_at: int
    expires_at: int
    #: Until when it can be asked for.
    known_until: int


class Batch(BaseModel):
    head: Head
    status: BatchStatus = BatchStatus.VALIDATING
    #: When it came into each status, in seconds since 1970.
    times: dict[BatchStatus, int] = {}
    counts: Counts = Counts()
    errors: list[LineError] = []
    plan: list[Segment] = []
    #: Ids of the jobs of segments that are under way, by the segment's number.
    ids: dict[int, list[str]] = {}
    written: dict[int, Written] = {}
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def id(self) -> str:
        return self.head.id


def new_batch_id(owner: str, key: str | None) -> str:
    """By the idempotency key, if there is one: who sends it again means the same batch."""
    digest = hashlib.blake2b(f"{owner} {key}".encode(), digest_size=16).hexdigest()
    return f"batch_{secrets.token_hex(16) if key is None else digest}"


class Batches(Protocol):
    """What the API needs of batches; `BatchStore` and `testing.MemoryBatches` both have it."""

    def owned_by(self, owner: Owner) -> Self:
        """The batches as this owner sees them; what it creates is its own."""

    def create(self, head: Head) -> bool:
        """Keep it as the owner's own, for somebody to take up; False: it was there already.

        Raises:
            IdempotencyKeyReused: one with this id was, of another request.
        """

    def get(self, batch_id: str) -> Batch:
        """Raises BatchNotFound: there is none, or it is another's."""

    def page(self, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """The newest first, those behind the batch `after`; and whether there are more.

        Raises:
            InvalidParameters: there is no batch `after`.
        """

    def cancel(self, batch_id: str) -> Batch:
        """Ask for its end; the batch as it then stands. Raises BatchNotFound."""

    def claim(self) -> tuple[Batch, int] | None:
        """A batch that nobody works at, of any owner, and the fencing token of its lease."""

    def write(
        self, batch_id: str, fence: int, fields: Mapping[str, str] | None = None, drop: str = ""
    ) -> BatchStatus:
        """Renew the lease, write these fields and forget that one; the status it has then.

        A status that is written where somebody has asked for the end is lost, unless it is final;
        with a final one the lease ends.

        Raises:
            Superseded: somebody else has taken it up.
        """

    def release(self, batch_id: str, fence: int) -> None:
        """Give the lease back."""


class BatchStore:
    """The `Batches` of one model's queue, in Redis."""

    def __init__(self, redis: RedisClient, model: str) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._active = keys.active_batches(model)
        self._owner = EVERYBODY

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)
        other._owner = owner
        return other

    @reaches_redis
    def create(self, head: Head) -> bool:
        own = head.model_copy(update={"owner": self._owner.id})
        known = self._scripts.batch_create(
            keys=[keys.batch(own.id), self._active, *keys.batch_indexes(own.owner)],
            args=[
                own.id,
                own.created_at,
                own.fingerprint,
                own.model_dump_json(),
                own.known_until,
                keys.batch(""),
            ],
        )
        if known is not None and known.decode() != own.fingerprint:
            raise IdempotencyKeyReused("take a new key for a new request")
        return known is None

    @reaches_redis
    def get(self, batch_id: str) -> Batch:
        found = self._read([batch_id])
        if not found or not self._sees(found[0]):
            raise BatchNotFound(f"no batch has the id {batch_id}")
        return found[0]

    @reaches_redis
    def page(self, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        index = keys.batch_indexes("" if self._owner.sees_all else self._owner.id)[-1]
        before = -1 if after is None else self._redis.zrevrank(index, after)
        if before is None:
            raise unknown_after(after or "")
        first = before + 1
        ids = [i.decode() for i in self._redis.zrevrange(index, first, first + limit)]
        return self._read(ids[:limit]), len(ids) > limit

    @reaches_redis
    def cancel(self, batch_id: str) -> Batch:
        self.get(batch_id)
        now = int(time.time())
        self._scripts.batch_cancel(keys=[keys.batch(batch_id)], args=[now])
        return self.get(batch_id)

    @reaches_redis
    def claim(self) -> tuple[Batch, int] | None:
        claimed = self._scripts.batch_claim(
            keys=[self._active], args=[keys.batch(""), LEASE_S * 1000]
        )
        if claimed is None:
            return None
        found = self._read([claimed[0].decode()])
        return (found[0], int(claimed[1])) if found else None

    @reaches_redis
    def write(
        self, batch_id: str, fence: int, fields: Mapping[str, str] | None = None, drop: str = ""
    ) -> BatchStatus:
        given = dict(fields or {})
        final = BatchStatus(given["status"]).final if "status" in given else False
        words = [word for field in given.items() for word in field]
        answer = self._scripts.batch_write(
            keys=[keys.batch(batch_id), self._active],
            args=[batch_id, fence, LEASE_S * 1000, int(final), drop, *words],
        )
        if answer is None:
            raise Superseded(f"another process works at {batch_id}")
        return BatchStatus(answer.decode())

    @reaches_redis
    def release(self, batch_id: str, fence: int) -> None:
        self._scripts.batch_write(
            keys=[keys.batch(batch_id), self._active], args=[batch_id, fence, 0, 0, ""]
        )

    def _read(self, batch_ids: Sequence[str]) -> list[Batch]:
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in batch_ids:
            pipe.hgetall(keys.batch(batch_id))
        return [to_batch(found) for found in pipe.execute() if found]

    def _sees(self, batch: Batch) -> bool:
        return self._owner.sees_all or batch.head.owner == self._owner.id


PLAN, ERRORS = TypeAdapter(list[Segment]), TypeAdapter(list[LineError])


def to_batch(found: Mapping[bytes, bytes]) -> Batch:
    """A batch from the fields that are kept of it."""
    fields = {name.decode(): value for name, value in found.items()}
    known: dict[str, Any] = {
        name: fields[name].decode()
        for name in ("status", "output_file_id", "error_file_id")
        if name in fields
    }
    return Batch(
        head=Head.model_validate_json(fields["head"]),
        times={BatchStatus(name): int(at) for name, at in _numbered(fields, "at")},
        counts=Counts.model_validate_json(fields.get("counts", b"{}")),
        errors=ERRORS.validate_json(fields.get("errors", b"[]")),
        plan=PLAN.validate_json(fields.get("plan", b"[]")),
        ids={int(number): raw.decode().split() for number, raw in _numbered(fields, "ids")},
        written={
            int(number): Written.model_validate_json(raw)
            for number, raw in _numbered(fields, "written")
        },
        **known,
    )


def _numbered(fields: Mapping[str, bytes], name: str) -> list[tuple[str, bytes]]:
    """The fields `NAME:x`, as pairs of x and value."""
    prefix = f"{name}:"
    return [(key[len(prefix) :], raw) for key, raw in fields.items() if key.startswith(prefix)]
