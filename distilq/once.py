"""Submissions that bear an idempotency key: made once, however often they are sent.

Under the key stands which request came with it and what was made of it: `FINGERPRINT ID` of one
job, `FINGERPRINT SEED COUNT` of a batch, `FINGERPRINT SEED -` while a batch is being written. It is
set in the same script that queues the jobs, so that one is never there without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from distilq.errors import IdempotencyInFlight, IdempotencyKeyReused

IN_FLIGHT = "-"


@dataclass
class Once:
    """A submission with its idempotency key; one object per request."""

    #: Unique among the owner's submissions: what the client sent, and where to.
    key: str
    #: Of the request. Another request must not bear the same key.
    fingerprint: str
    #: Set by the store: an earlier call has made it.
    replayed: bool = False

    def entry(self, seed: str, made: int | str | None = None) -> str:
        """What to set: a job's id; or a batch's seed, and how many jobs it has or IN_FLIGHT."""
        return f"{self.fingerprint} {seed}" + ("" if made is None else f" {made}")

    def ids(self, entry: bytes) -> list[str]:
        """The ids of what an earlier call has made.

        Raises:
            IdempotencyKeyReused: it was another request.
            IdempotencyInFlight: it has not queued its batch yet.
        """
        fingerprint, seed, *made = entry.decode().split(" ")
        if fingerprint != self.fingerprint:
            raise IdempotencyKeyReused("take a new key for a new request")
        if made == [IN_FLIGHT]:
            raise IdempotencyInFlight("its jobs are not queued yet")
        self.replayed = True
        return batch_ids(seed, int(made[0])) if made else [seed]


def batch_ids(seed: str, count: int) -> list[str]:
    """The ids of a batch, from a secret: who has seen some of them cannot tell the others."""
    key = seed.encode()
    numbers = (number.to_bytes(4, "big") for number in range(count))
    return [hashlib.blake2b(number, digest_size=16, key=key).hexdigest() for number in numbers]
