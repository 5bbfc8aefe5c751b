"""What a careful user of stock Celery on Redis would run, after its documentation.

celery -A tests.chaos.stock_app worker --pool threads
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery

STEP_S = 0.005

#: Seconds; twice a lease of ours, and above the longest job: below that Celery runs jobs twice.
VISIBILITY_S = 30

TIMEOUTS = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 5}


def make_app(url: str) -> Celery:
    app = Celery("stock", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        result_backend_always_retry=True,
        redis_socket_timeout=5,
        redis_retry_on_timeout=True,
        broker_transport_options=TIMEOUTS
        | {
            "visibility_timeout": VISIBILITY_S,
            "socket_keepalive": True,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
        },
    )
    return app


app = make_app(os.environ.get("STOCK_REDIS_URL", "redis://127.0.0.1:6379/0"))


@app.task(name="generate", bind=True)  # type: ignore[untyped-decorator]
def generate(self: Any, text: str, steps: int) -> str:
    """As the simulated model does: sleep a step, and break where it is told to."""
    faults = Path(os.environ["STOCK_FAULTS"])
    with (faults.parent / "starts").open("a") as starts:
        starts.write(f"{self.request.id}\n")
    for _ in range(steps):
        time.sleep(STEP_S)
        if taken(faults / "crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if taken(faults / "freeze"):
            time.sleep(3600)
    return text * steps


def taken(fault: Path) -> bool:
    try:
        fault.unlink()
    except FileNotFoundError:
        return False
    return True
