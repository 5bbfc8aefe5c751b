"""API keys: who may use the service, and how much of it.

A token is `dq_ID_SECRET`. It is shown once, when the key is made; Redis keeps the SHA-256 of the
secret. A fast hash is right here: slow ones buy time against guessing what people choose, and 256
random bits are not guessed at any speed, while every request would pay for the slowness.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from distilq import keys
from distilq.connection import RedisClient, reaches_redis
from distilq.owner import Owner
from distilq.rates import Quota, take
from distilq.scripts import Scripts

log = logging.getLogger("distilq.access")

#: Seconds for which a process believes what it has read of a key: a revocation holds everywhere
#: after them. Keys beyond the number are read anew for each request.
CACHED_S, CACHED_KEYS = 5.0, 1_000

TOKEN = re.compile("dq_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)

#: Compared with where no key has the id, so that this takes as long as where one has.
NO_DIGEST = "0" * 64

Scope = Literal["jobs", "admin"]


def _printable(name: str) -> str:
    if not name.isprintable():  # a line break would forge a line of `distilq keys list`
        raise ValueError("must be printable")
    return name


class Limits(BaseModel):
    """What a key may have at most; 0: no limit."""

    model_config = ConfigDict(frozen=True)

    #: Submissions per minute, counted in jobs.
    rate_per_minute: int = Field(0, ge=0, le=1_000_000)
    max_queued_jobs: int = Field(0, ge=0, le=2**52)
    max_queued_tokens: int = Field(0, ge=0, le=2**52)
    #: Jobs queued or running.
    max_in_flight: int = Field(0, ge=0, le=2**52)


class ApiKey(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: secrets.token_hex(8))
    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    scopes: tuple[Scope, ...] = ("jobs",)
    created_at: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    limits: Limits = Limits()

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes

    def owner(self) -> Owner:
        """On whose behalf this key submits; one with the admin scope sees all jobs."""
        return Owner(
            id=self.id,
            sees_all=self.is_admin,
            max_queued_jobs=self.limits.max_queued_jobs,
            max_queued_tokens=self.limits.max_queued_tokens,
            max_in_flight=self.limits.max_in_flight,
        )


class Entry(BaseModel):
    """What Redis keeps of a key."""

    model_config = ConfigDict(frozen=True)

    key: ApiKey
    sha256: str


class Ring(Protocol):
    """What the API needs of the keys; `KeyRing` and `testing.MemoryRing` both have it."""

    def verify(self, token: str) -> ApiKey | None:
        """The key of a token, or None. Raises StoreUnavailable, which is no answer at all."""

    def find(self, key_id: str) -> ApiKey | None:
        """The key with this id, or None. Raises StoreUnavailable."""

    def spend(self, key: ApiKey, jobs: int) -> Quota | None:
        """Take submissions from a key's rate; None where it has none. Raises StoreUnavailable."""


class KeyRing:
    """The `Ring` over one Redis HASH."""

    def __init__(self, redis: RedisClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._clock = clock
        self._cache: dict[str, tuple[float, Entry]] = {}
        self._lock = threading.Lock()

    @reaches_redis
    def create(self, key: ApiKey) -> str:
        """Keep the key, and give its token: nobody can tell it again."""
        secret = secrets.token_urlsafe(32)
        entry = Entry(key=key, sha256=_sha256(secret))
        self._redis.hset(keys.API_KEYS, key.id, entry.model_dump_json())
        return f"dq_{key.id}_{secret}"

    @reaches_redis
    def all(self) -> list[ApiKey]:
        """Oldest first."""
        found = self._redis.hgetall(keys.API_KEYS).items()
        entries = [_read(key_id.decode(), raw) for key_id, raw in found]
        return sorted((entry.key for entry in entries if entry), key=lambda key: key.created_at)

    @reaches_redis
    def revoke(self, key_id: str) -> bool:
        """Forget a key; whether there was one. Its jobs stay."""
        return bool(self._redis.hdel(keys.API_KEYS, key_id))

    def verify(self, token: str) -> ApiKey | None:
        parts = TOKEN.fullmatch(token)
        if parts is None:
            return None
        entry = self._entry(parts["id"])
        digest = entry.sha256 if entry else NO_DIGEST
        right = hmac.compare_digest(_sha256(parts["secret"]), digest)
        return entry.key if entry and right else None

    def find(self, key_id: str) -> ApiKey | None:
        entry = self._entry(key_id)
        return entry.key if entry else None

    @reaches_redis
    def spend(self, key: ApiKey, jobs: int) -> Quota | None:
        if not key.limits.rate_per_minute:
            return None
        return take(self._scripts, key.id, jobs, key.limits.rate_per_minute)

    def _entry(self, key_id: str) -> Entry | None:
        now = self._clock()
        with self._lock:
            cached = self._cache.get(key_id)
        if cached is not None and now < cached[0]:
            return cached[1]
        entry = self._fetch(key_id)
        with self._lock:
            self._cache.pop(key_id, None)
            # Unknown ids are not kept: whoever makes them up would push out those that exist.
            if entry is not None:
                if len(self._cache) >= CACHED_KEYS:
                    del self._cache[next(iter(self._cache))]  # the one that was read longest ago
                self._cache[key_id] = now + CACHED_S, entry
        return entry

    @reaches_redis
    def _fetch(self, key_id: str) -> Entry | None:
        raw = self._redis.hget(keys.API_KEYS, key_id)
        return None if raw is None else _read(key_id, raw)


def _read(key_id: str, raw: bytes) -> Entry | None:
    """The entry; one that cannot be read, a newer version's for one, opens nothing."""
    try:
        entry = Entry.model_validate_json(raw)
    except ValidationError:
        log.warning("what is kept of the API key %s cannot be read", key_id)
        return None
    return entry if entry.key.id == key_id else None


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
