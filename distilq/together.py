"""Calls of one Lua script by many threads at the same moment: one pipeline carries them all.

Under load a round trip costs more in waking threads than in work. Whoever comes while a pipeline
is under way waits for the next one; who comes alone makes the call at once.
"""

from __future__ import annotations

import threading
from typing import Any

from redis.commands.core import Script

from distilq.connection import RedisClient
from distilq.scripts import call_many

#: Calls in one pipeline at most, so that no answer waits for many others.
MOST = 64


class _Call:
    def __init__(self, args: list[str | int]) -> None:
        self.args = args
        self.answer: Any = None
        #: It is this call's turn to send all that wait.
        self.leads = False
        self.over = threading.Lock()
        self.over.acquire()


class Together:
    def __init__(self, redis: RedisClient, script: Script) -> None:
        self._redis = redis
        self._script = script
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._under_way = False

    def __call__(self, args: list[str | int]) -> Any:
        """What the script returns. It has to bear being sent twice.

        Raises:
            redis.RedisError: this call failed, or the pipeline that carried it.
        """
        call = _Call(args)
        with self._lock:
            self._waiting.append(call)
            call.leads = not self._under_way
            self._under_way = True
        if not call.leads:
            call.over.acquire()
        if call.leads:
            self._lead()
        if isinstance(call.answer, BaseException):
            raise call.answer
        return call.answer

    def _lead(self) -> None:
        """Send what waits, this thread's own call with it, and pass the lead on."""
        with self._lock:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            answers = self._send(batch)
        except BaseException as error:
            answers = [error] * len(batch)
        with self._lock:
            heir = self._waiting[0] if self._waiting else None
            self._under_way = heir is not None
        if heir is not None:
            heir.leads = True
            heir.over.release()
        for call, answer in zip(batch, answers, strict=True):
            call.answer = answer
            if not call.leads:
                call.over.release()

    def _send(self, batch: list[_Call]) -> list[Any]:
        if len(batch) == 1:
            return [self._script(args=batch[0].args)]
        return call_many(self._redis, self._script, [call.args for call in batch])
