"""How gunicorn serves the API: `gunicorn -c python:distilq.api.gunicorn_conf distilq.api.wsgi:app`.

Threads rather than an event loop: most requests take well under a millisecond, and those that wait
(long polls, /score) sleep on an event without holding a Redis connection.
"""

from __future__ import annotations

import gc
import socket
import struct
import sys
from typing import Any

from redis.exceptions import RedisError

from distilq import durability, logs
from distilq.connection import connect
from distilq.errors import VolatileStore
from distilq.loopback import keys_required
from distilq.settings import Settings

_settings = Settings.from_env()

worker_class = "gthread"
workers = _settings.api_processes
threads = _settings.api_threads

#: Seconds; clients that poll keep their connection between two polls.
keepalive = 75
#: Seconds without a sign of life from a process. Its main thread gives that sign whatever the
#: requests do, so this does not limit a long poll; it is longer than one all the same.
timeout = _settings.max_wait_s + 30
#: Seconds that requests under way get at a stop, of the 8 that `distilq up` gives. Those that wait
#: for a job are answered within one, see `post_worker_init`.
graceful_timeout = 7

#: Objects made and not freed before Python looks for cycles among the youngest (its own: 700).
GARBAGE = 20_000
#: One line per request would cost more than most requests; metrics count them instead.
accesslog = None
errorlog = "-"
logconfig_dict = logs.config(
    _settings, *(["gunicorn.error"] if _settings.log_format == "json" else [])
)
loglevel = "info"
#: No socket file in a home directory that may not be writable.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Refuse a Redis that may lose jobs; one that does not answer yet is waited for by requests."""
    if _settings.allow_volatile:
        return
    try:
        durability.require(connect(_settings.redis_url))
    except VolatileStore as error:
        sys.exit(f"distilq: {error.detail}")
    except RedisError as error:
        server.log.warning("Redis does not answer yet: %s", error)


def post_worker_init(worker: Any) -> None:
    """Bound the silence of clients; say when the process has to stop; ask for keys; sweep; work."""
    # Connections inherit it. gthread has no limit of its own: a client that stalls amid a request,
    # or vanishes there, would hold its thread for ever.
    limit = struct.pack("ll", _settings.max_silence_s, 0)
    for listener in worker.sockets:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    worker.wsgi.extensions["distilq.stopping"] = lambda: not worker.alive
    _settle_keys(worker)
    worker.wsgi.extensions["distilq.sweeper"].start()
    worker.wsgi.extensions["distilq.batches"].start()
    _collect_less_often()


def worker_exit(_server: Any, worker: Any) -> None:
    """Send the last spans."""
    app = getattr(worker, "wsgi", None)  # none where the process never came to serve
    if app is not None and (traces := app.extensions.get("distilq.traces")):
        traces.close()


def _collect_less_often() -> None:
    """Keep Python's garbage collector from what is there for good, and from looking all the time.

    A page of 1,000 jobs is 20,000 objects and no cycle; looking for some took a third of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def _settle_keys(worker: Any) -> None:
    """Ask for keys where others reach one of the addresses that are listened on, and say so."""
    names = [listener.getsockname() for listener in worker.sockets]
    hosts = [name[0] if isinstance(name, tuple) else "" for name in names]  # "": a Unix socket
    if worker.wsgi.extensions["distilq.door"].settle(hosts):
        worker.log.info("API keys are required")
    elif keys_required("auto", hosts):
        worker.log.warning("API keys are off: whoever reaches this address may do everything")
    else:
        worker.log.info("API keys are off")
