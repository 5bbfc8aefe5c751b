"""A kombu Redis transport that loses nothing: jobs move from queue to lease in one Lua call.

Stock kombu pops a message and records it afterwards; a worker killed between the two loses it. Here
the blocking call waits on a list of wake tokens, which carry nothing, and `Holdings.take` does the
claim. It replaces private methods of kombu 5.7.0's redis.Channel; hence the exact pin and
`check_kombu`.
"""

from __future__ import annotations

import inspect
import logging
from queue import Empty
from time import monotonic
from typing import Any

import kombu.transport.redis as stock
import kombu.transport.virtual as virtual

from distilq import queue
from distilq.claims import Claim

from .lease import Holdings

log = logging.getLogger("distilq.transport")

#: Seconds a blocking wait lasts; after it the queues are looked at even without a token, so a token
#: that died with its worker delays a job by no more than this.
WAIT_S = 1

#: kombu's private methods that are replaced here, and the parameters they are called with.
REPLACED = {
    "_brpop_start": ["self", "timeout"],
    "_brpop_read": ["self", "options"],
    "_restore": ["self", "message", "leftmost"],
}


def check_kombu() -> None:
    """Refuse a kombu whose private methods are not those this transport replaces.

    Raises:
        RuntimeError: with what differs.
    """
    for name, expected in REPLACED.items():
        method = getattr(stock.Channel, name, None)
        found = list(inspect.signature(method).parameters) if method else None
        if found != expected:
            raise RuntimeError(
                f"kombu's redis.Channel.{name} takes {found}, not {expected}: install kombu 5.7.0"
            )


class QoS(virtual.QoS):  # type: ignore[misc]  # kombu has no types
    """Credit and acknowledgement by lease.

    What is held is known to Holdings; the finish script ends a lease, so an ack writes nothing, and
    a lost connection hands nothing back.
    """

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        holdings = self.channel.holdings
        return bool(
            not self.channel.consumes_jobs or holdings.has_room() or holdings.has_urgent_room()
        )

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Celery refuses the job, or its consumer has gone since the claim: it goes back."""
        self._quick_ack(delivery_tag)
        self.channel.hand_back(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """A lost connection hands nothing back, and dumps no message into a file."""
        self._on_collect.cancel()
        self._flush()

    def restore_by_tag(self, tag: str, *args: Any, **kwargs: Any) -> None:
        self.channel.hand_back(tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """The sweep does this, see distilq/sweeper.py."""


class Message(virtual.Message):  # type: ignore[misc]  # as above
    """What a message of our own says is known; others, of remote control, are decoded."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **kwargs: Any) -> None:
        ours = payload["body"] is queue.BODY
        super().__init__(payload | {"body": None} if ours else payload, channel=channel, **kwargs)
        if ours:
            self.body, self._decoded_cache = queue.PLAIN_BODY, queue.body()


#: What a channel is given beside kombu's own options.
OPTIONS = ("holdings", "queues_of_jobs", "wake_keys")


class Channel(stock.Channel):  # type: ignore[misc]  # kombu has no types
    """Claims jobs where it consumes their queues; stock on any other, such as control replies."""

    QoS = QoS
    Message = Message
    from_transport_options = (*stock.Channel.from_transport_options, *OPTIONS)
    holdings: Holdings
    #: The queues that hold jobs, by priority.
    queues_of_jobs: dict[str, str]
    #: This worker's own, that of interactive jobs, that of all others.
    wake_keys: list[str]
    _waiting_for_jobs = False

    @property
    def consumes_jobs(self) -> bool:
        return not set(self.queues_of_jobs.values()).isdisjoint(self.active_queues)

    def _brpop_start(self, timeout: float | None = None) -> None:
        self._waiting_for_jobs = self.consumes_jobs
        if not self._waiting_for_jobs:
            super()._brpop_start(timeout)
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()  # kombu's check for half-open connections reads it
        self.client.connection.send_command("BRPOP", *self._heard(), WAIT_S)

    def _heard(self) -> list[str]:
        """The lists that wake this worker now; a drained one looks up when the wait is over."""
        if self.holdings.is_draining:
            return self.wake_keys[:1]
        return self.wake_keys[:2] if self.holdings.wait_for_urgent_alone() else self.wake_keys

    def _brpop_read(self, **options: Any) -> bool:
        if not self._waiting_for_jobs:
            return bool(super()._brpop_read(**options))
        try:
            self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        claimed = self.holdings.take(self.active_queues) if self.consumes_jobs else []
        for claim in claimed:
            self._deliver_claim(claim)
        if not claimed:
            raise Empty
        return True

    def _deliver_claim(self, claim: Claim) -> None:
        """Give Celery the message that the store would have written: not what lay in the queue.

        So nothing that others have put there is ever decoded, let alone unpickled.
        """
        name = self.queues_of_jobs[claim.priority]
        try:
            self.connection._deliver(queue.envelope(claim.id, name), name)
        except Exception:
            # The lease lapses and another attempt is made; five make the job poisoned. Connection
            # errors, KeyError for kombu, are caught too: the claims after this one must go on.
            log.exception("job %s could not be delivered", claim.id)
            self.holdings.drop([claim])

    def hand_back(self, job_id: str) -> None:
        """Queue a job that nobody works on again, by this project's own script.

        kombu's ways would write the message anew and push it beside its record and its lease.
        """
        claim = self.holdings.get(job_id)
        if claim is not None:
            self.holdings.hand_back(claim)

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        self.hand_back(message.delivery_tag)


class SentinelChannel(Channel, stock.SentinelChannel):  # type: ignore[misc]  # as above
    from_transport_options = (*stock.SentinelChannel.from_transport_options, *OPTIONS)


class Transport(stock.Transport):  # type: ignore[misc]  # as above
    Channel = Channel


class SentinelTransport(stock.SentinelTransport):  # type: ignore[misc]  # as above
    Channel = SentinelChannel
