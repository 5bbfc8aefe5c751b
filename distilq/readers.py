"""Reading the streams of many jobs: one blocking call per process, whoever reads.

A reader that is slow is left out of the call until it has caught up, so what it has not read lies
in Redis and nowhere else.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from distilq import keys
from distilq.connection import RedisClient
from distilq.events import Place

log = logging.getLogger("distilq.readers")

#: Seconds that one call waits; it is woken when somebody begins to read.
BLOCK_S = 1.0
#: Seconds between attempts while Redis does not answer.
RETRY_S = 0.5
#: Entries that a call takes of one stream, and with how many in hand a reader takes no more.
AT_ONCE, IN_HAND = 64, 64
#: Seconds after which Redis forgets that there was something else to read.
NUDGE_S = 60

Entry = tuple[bytes, dict[bytes, bytes]]
Offer = Callable[[list[Entry]], bool]


class Reader:
    """One who reads a stream, from behind a place on.

    Entries are offered to `offer`, if there is one, while the thread that reads waits in `take`:
    what it takes, by returning true, never comes to that thread, which so can sleep on.
    """

    def __init__(self, key: str, after: Place, offer: Offer | None = None) -> None:
        self.key = key
        #: The last entry that it has been given.
        self.position = str(after)
        self._entries: deque[Entry] = deque()
        self._came = threading.Event()
        self._offer = offer
        #: Held by whoever deals with entries: one who reads, but for its waiting in `take`.
        self._deals = threading.Lock()
        self._deals.acquire()

    @property
    def has_room(self) -> bool:
        return len(self._entries) < IN_HAND

    def take(self, timeout_s: float) -> list[Entry]:
        """What has come since; waits for it at most so long."""
        self._deals.release()
        try:
            self._came.wait(timeout_s)
        finally:
            self._deals.acquire()
        self._came.clear()  # before looking: what comes now sets it again
        return [self._entries.popleft() for _ in range(len(self._entries))]

    def give(self, entries: list[Entry]) -> None:
        at = _number(self.position)
        newer = [entry for entry in entries if _number(entry[0].decode()) > at]
        if newer:
            self.position = newer[-1][0].decode()
            if not self._offered(newer):
                self._entries.extend(newer)
                self._came.set()

    def _offered(self, entries: list[Entry]) -> bool:
        if self._offer is None or not self._deals.acquire(blocking=False):
            return False
        try:
            return not self._entries and self._offer(entries)
        finally:
            self._deals.release()


class Readers:
    """The readers of this process, and the thread that reads for them.

    It starts with the first of them, so that it lives on the right side of a server's fork.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._nudges = keys.readers(secrets.token_hex(8))
        self._nudged = "0-0"
        self._readers: set[Reader] = set()
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def follow(self, key: str, after: Place, offer: Offer | None = None) -> Iterator[Reader]:
        reader = Reader(key, after, offer)
        with self._lock:
            self._readers.add(reader)
            self._any.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="readers")
                self._thread.start()
        self.nudge()
        try:
            yield reader
        finally:
            with self._lock:
                self._readers.discard(reader)
                if not self._readers:
                    self._any.clear()

    def nudge(self) -> None:
        """Have the thread look again at what is to be read; without it, it does so soon."""
        with suppress(RedisError):
            pipe = self._redis.pipeline(transaction=False)
            pipe.xadd(self._nudges, {"n": 1}, maxlen=1)
            pipe.expire(self._nudges, NUDGE_S)
            pipe.execute()

    def close(self) -> None:
        self._closed = True
        self._any.set()
        if self._thread is not None:
            self.nudge()
            self._thread.join(timeout=BLOCK_S + 5)

    def _run(self) -> None:
        while not self._closed:
            self._any.wait()
            try:
                self._read()
            except RedisError as error:  # once per attempt, not per reader
                log.warning("readers wait for Redis: %s", error)
                time.sleep(RETRY_S)

    def _read(self) -> None:
        """One call for all readers that have room."""
        with self._lock:
            readers = [reader for reader in self._readers if reader.has_room]
        wanted = {self._nudges: self._nudged}
        for reader in readers:
            known = wanted.get(reader.key)
            if known is None or _number(reader.position) < _number(known):
                wanted[reader.key] = reader.position
        found = self._redis.xread(wanted, count=AT_ONCE, block=round(BLOCK_S * 1000))
        by_key = {name.decode(): entries for name, entries in dict(found).items()}
        if nudges := by_key.get(self._nudges):
            self._nudged = nudges[-1][0].decode()
        for reader in readers:
            if entries := by_key.get(reader.key):
                reader.give(entries)


def _number(entry_id: str) -> tuple[int, int]:
    first, _, second = entry_id.partition("-")
    return int(first), int(second)
