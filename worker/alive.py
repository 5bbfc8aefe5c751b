"""`python -m distilq.worker.alive`: whether the worker of this container beats; its healthcheck.

What it reads is what the API goes by: a heartbeat in Redis, once a second, from the time when the
model is loaded.
"""

from __future__ import annotations

import socket
import sys

from redis.exceptions import RedisError

from distilq import keys, listing
from distilq.connection import connect
from distilq.settings import Settings


def why_not(settings: Settings, host: str) -> str | None:
    """Why no worker of this host counts as alive, or None."""
    try:
        with connect(settings.redis_url) as redis:
            found = listing.workers(redis, settings.model)
    except RedisError as error:
        return f"Redis does not answer: {error}"
    if any(worker.host == host for worker in found):
        return None
    return f"no heartbeat from {host} within {keys.HEARTBEAT_S} s"


if __name__ == "__main__":
    sys.exit(why_not(Settings.from_env(), socket.gethostname()))
