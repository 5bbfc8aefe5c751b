"""What the Celery peers of `benchmarks.mixed` share.

They run in the peers' environment, for its Celery, and find torch and transformers at the end of
their path: what the peers pin goes before what distilq pins.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.peers.channel import end_with_parent

BROKER_DB, RESULTS_DB = 1, 2

#: Seconds that a forked process may take to load its model.
LOAD_S = 120


def make_app(queue: str, **conf: object) -> Any:
    """The app whose worker serves one queue; its results have a database of their own."""
    end_with_parent()
    sys.path += os.environ["PEER_PACKAGES"].split(os.pathsep)
    from celery import Celery

    address = os.environ["PEER_REDIS_URL"]
    app = Celery(queue, broker=f"{address}/{BROKER_DB}", backend=f"{address}/{RESULTS_DB}")
    app.conf.update(task_default_queue=queue, worker_proc_alive_timeout=LOAD_S, **conf)
    return app


def threads() -> int:
    return int(os.environ["PEER_THREADS"])


def checkpoint() -> str:
    return os.environ["PEER_CHECKPOINT"]
