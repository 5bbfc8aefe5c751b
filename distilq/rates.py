"""How often a key may submit: GCRA on Redis' clock, one number per key (`lua/rate.lua`)."""

from __future__ import annotations

from dataclasses import dataclass

from distilq import keys
from distilq.scripts import Scripts

#: Seconds over which a rate is given, and the most that may be saved up: a minute's jobs at once.
WINDOW_S = 60


@dataclass(frozen=True)
class Quota:
    """What has become of a request for submissions, and what is left."""

    taken: bool
    limit: int
    left: int
    #: Seconds until all of it is there again.
    whole_s: float
    #: Seconds until this request could be granted; 0 if it was.
    retry_s: float = 0.0


def take(scripts: Scripts, key_id: str, jobs: int, per_minute: int) -> Quota:
    """Take so many jobs from the key's quota, or none of them.

    A call that the client library repeats after a broken connection may count twice.
    """
    taken, left, whole, early = scripts.rate(
        keys=[keys.rate(key_id)], args=[jobs, per_minute, WINDOW_S]
    )
    return Quota(bool(taken), per_minute, left, whole / 1e6, early / 1e6)
