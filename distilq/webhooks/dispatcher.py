"""The dispatcher: takes what is due from the outbox, sends it, notes how that went.

Any number of them may run. One host has few places at once, and one only while it answers late or
not at all, so a receiver that hangs soon holds up nobody but itself; generation knows nothing of
any of this.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

import anyio
from redis.exceptions import RedisError

from distilq.webhooks import schedule
from distilq.webhooks.outbox import Entry, Message, Outbox
from distilq.webhooks.sending import Answer, Sender
from distilq.webhooks.signing import signed_headers

log = logging.getLogger("distilq.webhooks")

#: Webhooks under way at once: in all, and to one host.
AT_ONCE, PER_HOST = 64, 16

#: Milliseconds after which an answer is as good as none: who takes so long takes others' places.
SLOW_MS = 5_000

#: Hosts remembered as silent; of more, any is forgotten.
MOST_SILENT = 1_000

#: Seconds between two looks at the outbox while nothing is due; after an error of Redis.
TICK_S, ERROR_S = 0.5, 2.0

#: Seconds in which what is under way at a stop may end; the rest is sent again after its lease.
STOP_S = 5.0


class Dispatcher:
    def __init__(self, outbox: Outbox, sender: Sender, secrets: Sequence[bytes]) -> None:
        self._outbox = outbox
        self._sender = sender
        self._secrets = secrets
        self._under_way: Counter[str] = Counter()
        #: Hosts whose last attempt got no answer, or a late one.
        self._silent: set[str] = set()
        self._news = anyio.Event()

    async def run(self, stop: anyio.Event) -> None:
        """Send what is due until `stop` is set."""
        async with anyio.create_task_group() as tasks:
            while not stop.is_set():
                entries = await self._take()
                for entry in entries:
                    self._under_way[entry.host] += 1
                    tasks.start_soon(self._deliver, entry)
                if not entries:
                    await self._wait()
            tasks.cancel_scope.deadline = anyio.current_time() + STOP_S

    async def _take(self) -> list[Entry]:
        room = AT_ONCE - self._under_way.total()
        if room <= 0:
            return []
        hosts = {*self._under_way, *self._silent}
        room_of = {host: self._places(host) - self._under_way[host] for host in hosts}
        try:
            return await anyio.to_thread.run_sync(self._outbox.take, room, PER_HOST, room_of)
        except RedisError as error:
            log.warning("nothing taken: %s", error)
            await anyio.sleep(ERROR_S)
            return []

    def _places(self, host: str) -> int:
        return 1 if host in self._silent else PER_HOST

    async def _wait(self) -> None:
        """Until there is room again, or it is time to look."""
        with anyio.move_on_after(TICK_S):
            await self._news.wait()
        self._news = anyio.Event()

    async def _deliver(self, entry: Entry) -> None:
        try:
            message = await anyio.to_thread.run_sync(self._outbox.message, entry)
            if message is not None:
                await self._note(entry, await self._send(message))
        except RedisError as error:  # the lease lapses, and it is sent again
            log.warning("webhook of job %s: %s", entry.id, error)
        except Exception:  # as above; without this one entry would end them all
            log.exception("webhook of job %s", entry.id)
        finally:
            self._under_way[entry.host] -= 1
            if not self._under_way[entry.host]:
                del self._under_way[entry.host]
            self._news.set()

    async def _send(self, message: Message) -> Answer:
        signed = signed_headers(self._secrets, message.id, int(time.time()), message.body)
        headers = {**signed, "content-type": "application/json", "user-agent": "distilq"}
        return await self._sender.post(message.url, headers, message.body)

    async def _note(self, entry: Entry, answer: Answer) -> None:
        silent = answer.status is None or answer.duration_ms > SLOW_MS
        self._remember(entry.host, silent=silent)
        then = schedule.after(answer.status, answer.retry_after, entry.tries)
        state = await anyio.to_thread.run_sync(self._outbox.end, entry, answer, then)
        level = logging.INFO if state == "delivered" else logging.WARNING
        # The host alone: the rest of an address may be a secret.
        log.log(
            level,
            "webhook of job %s to %s: %s after %d ms, attempt %d: %s",
            *(entry.id, entry.host, answer.status or answer.trouble, answer.duration_ms),
            *(entry.tries, state or "another dispatcher has it"),
        )

    def _remember(self, host: str, *, silent: bool) -> None:
        if not silent:
            self._silent.discard(host)
            return
        self._silent.add(host)
        if len(self._silent) > MOST_SILENT:
            self._silent.pop()
