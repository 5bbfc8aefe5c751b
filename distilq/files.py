"""Files: what is known of each in Redis, its bytes in the storage."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import BaseModel
from typing_extensions import Self

from distilq import keys
from distilq.connection import RedisClient, reaches_redis
from distilq.errors import InvalidParameters, StoredFileNotFound
from distilq.owner import EVERYBODY, Owner

Purpose = Literal["batch", "batch_output"]


#: Files whose descriptions are read at once, where pages leave out what has another purpose.
LOOKED_AT_ONCE = 200

#: Seconds for which the place of a dropped file is known: who deletes what a list shows goes on.
PLACE_S = 86_400


def new_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


class File(BaseModel):
    """A file, and where its bytes are."""

    id: str
    owner: str = ""
    filename: str
    purpose: Purpose
    bytes: int
    #: Seconds since 1970.
    created_at: int
    expires_at: int
    #: Paths in the storage; the file is what they hold, one behind the other.
    parts: tuple[str, ...]


class Files(Protocol):
    """What the API needs to know of files; `FileStore` and `testing.MemoryFiles` both have it."""

    def owned_by(self, owner: Owner) -> Self:
        """The files as this owner sees them; what it adds is its own."""

    def add(self, file: File) -> File:
        """Keep it as the owner's own; the same file twice is one. Raises StoreUnavailable."""

    def get(self, file_id: str) -> File:
        """Raises StoredFileNotFound: there is none, it is another's, or its time is over."""

    def page(
        self, limit: int, after: str | None, purpose: Purpose | None = None
    ) -> tuple[list[File], bool]:
        """The newest first, those behind the file `after`; and whether there are more.

        Raises:
            InvalidParameters: nobody has had a file `after` of late.
        """

    def drop(self, file_id: str) -> File:
        """Forget it; its bytes are the caller's to delete. Raises StoredFileNotFound."""

    def expired(self, limit: int) -> list[File]:
        """Files of all owners whose time is over."""


class FileStore:
    """The `Files` in Redis."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._owner = EVERYBODY

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)
        other._owner = owner
        return other

    @reaches_redis
    def add(self, file: File) -> File:
        own = file.model_copy(update={"owner": self._owner.id})
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(keys.file(own.id), own.model_dump_json())
        for index in keys.file_indexes(own.owner):
            pipe.zadd(index, {own.id: own.created_at})
        pipe.zadd(keys.FILE_EXPIRY, {own.id: own.expires_at})
        pipe.execute()
        return own

    @reaches_redis
    def get(self, file_id: str) -> File:
        found = self._read([file_id])
        if not found:
            raise StoredFileNotFound(f"no file has the id {file_id}")
        return found[0]

    @reaches_redis
    def page(
        self, limit: int, after: str | None, purpose: Purpose | None = None
    ) -> tuple[list[File], bool]:
        index = keys.file_indexes("" if self._owner.sees_all else self._owner.id)[-1]
        first, step = self._behind(index, after), max(limit + 1, LOOKED_AT_ONCE)
        found: dict[str, File] = {}  # by id: one that comes meanwhile moves the others
        while len(found) <= limit:
            ids = [i.decode() for i in self._redis.zrevrange(index, first, first + step - 1)]
            found |= {f.id: f for f in self._read(ids) if purpose in (None, f.purpose)}
            first += step
            if len(ids) < step:
                break
        return list(found.values())[:limit], len(found) > limit

    @reaches_redis
    def drop(self, file_id: str) -> File:
        file = self._owned(file_id)
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(keys.file(file_id))
        pipe.set(keys.file_place(file_id), file.created_at, ex=PLACE_S)
        for name in (*keys.file_indexes(file.owner), keys.FILE_EXPIRY):
            pipe.zrem(name, file_id)
        pipe.execute()
        return file

    @reaches_redis
    def expired(self, limit: int) -> list[File]:
        ids = self._redis.zrangebyscore(keys.FILE_EXPIRY, "-inf", time.time(), start=0, num=limit)
        found = self._redis.mget([keys.file(i.decode()) for i in ids]) if ids else []
        return [File.model_validate_json(raw) for raw in found if raw is not None]

    def _behind(self, index: str, after: str | None) -> int:
        """How many files are no further back in the index than this one is, or was."""
        if after is None:
            return 0
        rank = self._redis.zrevrank(index, after)
        if rank is not None:
            return int(rank) + 1
        at = self._redis.get(keys.file_place(after))
        if at is None:
            raise unknown_after(after)
        newer = self._redis.zcount(index, f"({int(at)}", "+inf")
        beside = self._redis.zrangebyscore(index, int(at), int(at))
        return int(newer) + sum(1 for each in beside if each.decode() > after)

    def _owned(self, file_id: str) -> File:
        raw = self._redis.get(keys.file(file_id))
        file = None if raw is None else File.model_validate_json(raw)
        if file is None or not (self._owner.sees_all or file.owner == self._owner.id):
            raise StoredFileNotFound(f"no file has the id {file_id}")
        return file

    def _read(self, file_ids: Sequence[str]) -> list[File]:
        found = self._redis.mget([keys.file(i) for i in file_ids]) if file_ids else []
        files = [File.model_validate_json(raw) for raw in found if raw is not None]
        return [file for file in files if is_seen(file, self._owner, time.time())]


def unknown_after(after: str) -> InvalidParameters:
    entry = {"parameter": "after", "code": "invalid", "detail": f"{after} is not known"}
    return InvalidParameters(errors=[entry])


def is_seen(file: File, owner: Owner, now: float) -> bool:
    return (owner.sees_all or file.owner == owner.id) and now < file.expires_at
