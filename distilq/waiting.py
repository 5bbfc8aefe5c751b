"""Waiting for jobs without polling: one subscriber per process wakes all who wait in it."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from distilq import keys
from distilq.connection import RedisClient

log = logging.getLogger("distilq.waiting")

#: Seconds between attempts to subscribe again after Redis went away.
RETRY_S = 0.5

#: Seconds of silence after which the connection is tried with a PING.
LISTEN_S = 5.0


class Waiters:
    """Threads of this process that wait for jobs; they hold no Redis connection while they do.

    The thread that listens starts with the first waiter, so that it lives on the right side of a
    server's fork.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._channel = keys.waiters(secrets.token_hex(8))
        self._events: defaultdict[str, list[threading.Event]] = defaultdict(list)
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._listener: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def listen(self, job_id: str) -> Iterator[tuple[str, threading.Event]]:
        """The channel to have the job's end published on, and the event that it sets."""
        event = threading.Event()
        with self._lock:
            self._events[job_id].append(event)
            if self._listener is None:
                self._listener = threading.Thread(target=self._run, daemon=True, name="waiters")
                self._listener.start()
        try:
            self._subscribed.wait(timeout=LISTEN_S)
            yield self._channel, event
        finally:
            with self._lock:
                self._events[job_id].remove(event)
                if not self._events[job_id]:
                    del self._events[job_id]

    def close(self) -> None:
        """End the listening thread; who waits still, waits for its timeout."""
        self._closed = True
        if self._listener is not None:
            with suppress(RedisError):
                self._redis.publish(self._channel, "")
            self._listener.join(timeout=LISTEN_S + 1)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._listen()
            except RedisError as error:  # once per outage, not per message
                log.warning("waiting for Redis: %s", error)
                time.sleep(RETRY_S)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=False) as pubsub:
            pubsub.subscribe(self._channel)
            while not self._closed:
                message = pubsub.get_message(timeout=LISTEN_S)
                if message is None:
                    pubsub.ping()  # a half-open connection shows here, not by silence
                elif message["type"] == "subscribe":
                    self._subscribed.set()
                    self._wake_all()
                elif message["type"] == "message":
                    self._wake(message["data"].decode())

    def _wake(self, job_id: str) -> None:
        with self._lock:
            for event in self._events.get(job_id, ()):
                event.set()

    def _wake_all(self) -> None:
        """What was published while the subscription was down is lost, so everyone looks again."""
        with self._lock:
            for events in self._events.values():
                for event in events:
                    event.set()
