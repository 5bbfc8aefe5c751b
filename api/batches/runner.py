"""The thread of an API process that works at batches, a few at a time, each by its lease.

Every API process has one. A batch whose process has died is taken up by another when its lease is
over.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from flask import Flask

from distilq.archive import Library
from distilq.batches import LineError, Superseded
from distilq.errors import DistilqError
from distilq.logs import REQUEST_ID

from ..auth import act_for
from .work import Work

log = logging.getLogger("distilq.batches")

#: Seconds between two steps of a batch: how late an answer may be written, and a count be.
TICK_S = 0.5

#: Batches that a process works at at once, and seconds after which one is left to wait again if
#: another waits: a large one, or one whose key is slow, must not keep others from their turn.
AT_ONCE, TURN_S = 4, 5.0

#: Ticks between two looks for files whose time is over, and how many are then deleted.
SWEEP_TICKS, SWEPT_AT_ONCE = 120, 20

#: Steps that may fail in a row by a fault of ours before the batch is failed.
MOST_FAILURES = 5


@dataclass
class Held:
    """A batch whose lease is ours."""

    work: Work
    #: By the monotonic clock, as is the next.
    since: float
    not_before: float = 0.0
    failures: int = 0


class Runner:
    def __init__(self, app: Flask, library: Library) -> None:
        self._app, self._library = app, library
        self._held: dict[str, Held] = {}
        self._ticks = 0

    def start(self) -> None:
        """Work from a thread of its own until the server stops."""
        threading.Thread(target=self._run, daemon=True, name="batches").start()

    def tick(self) -> None:
        """Take up what nobody works at, and go a step on with each."""
        while len(self._held) < AT_ONCE and self._take_up():
            pass
        for batch_id in list(self._held):
            self._step(batch_id, self._held[batch_id])
        self._change_turns()
        if self._ticks % SWEEP_TICKS == 0:
            self._delete_expired()
        self._ticks += 1

    def _run(self) -> None:
        while not self._app.extensions["distilq.stopping"]():
            try:
                self.tick()
            except Exception:  # without this thread no batch would be worked at here
                log.exception("no work was done at batches")
            time.sleep(TICK_S)
        for batch_id in list(self._held):  # so that others need not wait for the leases' end
            self._let_go(batch_id)

    def _take_up(self) -> bool:
        """Whether there was a batch that nobody works at."""
        try:
            claimed = self._library.batches.claim()
        except DistilqError as error:
            log.warning("no batch is taken up: %s", error)
            return False
        if claimed is None:
            return False
        batch, fence = claimed
        self._held[batch.id] = Held(Work(batch, fence, self._library), time.monotonic())
        return True

    def _change_turns(self) -> None:
        """Leave those that have had their turn, as many as there are others that wait."""
        since = time.monotonic() - TURN_S
        for batch_id in [i for i, held in self._held.items() if held.since <= since]:
            if len(self._held) >= AT_ONCE and self._take_up():
                self._let_go(batch_id)

    def _let_go(self, batch_id: str) -> None:
        with suppress(DistilqError):
            self._held.pop(batch_id).work.let_go()

    def _step(self, batch_id: str, held: Held) -> None:
        if time.monotonic() < held.not_before:
            return
        try:
            with self._app.app_context():
                more = self._step_as_owner(held.work)
            held.failures = 0
        except Superseded:
            more = False
        except DistilqError as error:  # of the queue, Redis or the storage: nothing is lost
            log.info("%s waits: %s", batch_id, error)
            held.not_before = time.monotonic() + min(error.members.get("retry_after_s", 1), 10)
            more = True
        except Exception:
            log.exception("a step of %s failed", batch_id)
            held.failures += 1
            more = held.failures < MOST_FAILURES or self._give_up(held.work)
        if not more:
            del self._held[batch_id]

    def _give_up(self, work: Work) -> bool:
        """End a batch that we cannot work at; whether that is left to do."""
        try:
            with self._app.app_context():
                act_for(work.batch.head.owner)
                work.fail(LineError(code="internal_error", message="the service failed on it"))
        except Exception:
            log.exception("%s cannot be ended", work.batch.id)
        return False

    def _step_as_owner(self, work: Work) -> bool:
        REQUEST_ID.set(work.batch.id)  # by which its jobs are found in the log
        if not act_for(work.batch.head.owner):  # its key has been revoked
            self._library.batches.cancel(work.batch.id)
        return work.step()

    def _delete_expired(self) -> None:
        """Files whose time is over, a few at a time."""
        try:
            for file in self._library.files.expired(SWEPT_AT_ONCE):
                for path in file.parts:
                    self._library.storage.delete(path)
                self._library.files.drop(file.id)
        except DistilqError as error:
            log.warning("expired files are left for later: %s", error)
