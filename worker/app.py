"""The worker's Celery application:

celery -A distilq.worker.app worker
"""

from __future__ import annotations

import gc
import logging
import secrets
import sys
import time
import warnings
from logging.config import dictConfig

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning
from redis.exceptions import RedisError

from distilq import durability, keys, logs, queue
from distilq.celery_app import make_celery
from distilq.claims import Claims
from distilq.connection import RedisClient, connect, is_sentinel
from distilq.errors import VolatileStore
from distilq.jobs import TASK_NAME
from distilq.settings import Settings
from distilq.sweeper import Sweeper

from . import consumer, pool, transport
from .lease import Holdings

log = logging.getLogger("distilq.worker")

#: Seconds between attempts to reach Redis at the start.
RETRY_S = 1.0


def create_worker(settings: Settings) -> Celery:
    """Celery with this project's transport and pool, and the one task, for one model."""
    transport.check_kombu()
    worker = make_celery(settings)
    # Random per process start; host and pid come again, in containers above all.
    worker.distilq_worker_id = secrets.token_hex(8)
    redis = connect(settings.redis_url)
    claims = Claims(redis, settings.model, worker.distilq_worker_id)
    worker.distilq_sweeper = Sweeper(redis, settings.model)
    kind = "SentinelTransport" if is_sentinel(settings.redis_url) else "Transport"
    worker.conf.update(
        broker_transport=f"{transport.__name__}:{kind}",
        worker_pool=f"{pool.__name__}:EnginePool",
        worker_consumer=f"{consumer.__name__}:Consumer",
        worker_concurrency=settings.max_rows,
        worker_prefetch_multiplier=1,
        # Credit is Holdings' affair; Celery would lower it after a reconnection and raise it late.
        worker_enable_prefetch_count_reduction=False,
        # A full disk or a failover makes Redis refuse to write; the worker waits until it accepts.
        broker_channel_error_retry=True,
        # After a lost connection the running jobs go on: their leases are still ours.
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    worker.conf.broker_transport_options |= {
        "holdings": Holdings(claims, settings.max_rows, settings.max_batch_tokens),
        "queues_of_jobs": queue.queues(settings.model),
        "wake_keys": [
            keys.nudge(worker.distilq_worker_id),
            keys.wake(settings.model, interactive=True),
            keys.wake(settings.model),
        ],
    }
    worker.task(name=TASK_NAME, ignore_result=False)(generate)
    _set_up_logs(settings)
    signals.worker_ready.connect(hush_celery, weak=False)
    signals.worker_ready.connect(spare_collector, weak=False)
    if not settings.allow_volatile:
        signals.worker_init.connect(lambda **_: refuse_volatile(redis), weak=False)
    return worker


def _set_up_logs(settings: Settings) -> None:
    """Celery's own lines for people; ours for machines, with all that it says among them."""
    if settings.log_format == "json":
        # Celery sets up nothing of its own where somebody has heard this.
        signals.setup_logging.connect(lambda **_: dictConfig(logs.config(settings)), weak=False)
    else:
        logging.getLogger("distilq").setLevel(settings.log_level.upper())


def hush_celery(**_: object) -> None:
    """Celery announces the change of a default, which is set above: six lines per reconnection."""
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


def spare_collector(**_: object) -> None:
    """What is there by now lives as long as the process; without it collections are short.

    A tenth of a job's time with a model that costs nothing; a pause of 0.14 s with torch loaded.
    """
    gc.collect()
    gc.freeze()


def refuse_volatile(redis: RedisClient) -> None:
    """Wait until Redis answers, and end the process if it may lose jobs."""
    while True:
        try:
            return durability.require(redis)
        except VolatileStore as error:
            sys.exit(f"distilq: {error.detail}")
        except RedisError as error:
            log.warning("waiting for Redis: %s", error)
            time.sleep(RETRY_S)


def generate() -> None:
    """The task's name and options; the work is the pool's.

    Raises:
        RuntimeError: always, as only another pool would call it.
    """
    raise RuntimeError(f"{TASK_NAME} runs in distilq's own pool; do not choose another with --pool")


app = create_worker(Settings.from_env())
