"""The Celery application: what the worker runs, and what `celery inspect` or Flower connect with.

    celery -A distilq.celery_app inspect active

The API does not need it: it writes the same messages by itself (see distilq/queue.py).
"""

from __future__ import annotations

from typing import Any

from celery import Celery, states
from celery.backends.base import Backend as CeleryBackend
from celery.backends.base import SyncBackendMixin
from kombu import Exchange, Queue

from distilq import queue
from distilq.connection import SentinelGroup, broker_url, connect, is_sentinel
from distilq.errors import DistilqError, JobGone, JobNotFound
from distilq.jobs import TASK_NAME, Job, JobStatus
from distilq.settings import Settings
from distilq.store import JobStore

STATES = {
    JobStatus.QUEUED: states.PENDING,
    JobStatus.RUNNING: states.STARTED,
    JobStatus.CANCELING: states.STARTED,
    JobStatus.SUCCEEDED: states.SUCCESS,
    JobStatus.FAILED: states.FAILURE,
    JobStatus.CANCELED: states.REVOKED,
    JobStatus.EXPIRED: states.REVOKED,
}


class RecordBackend(CeleryBackend, SyncBackendMixin):  # type: ignore[misc]  # celery has no types
    """Celery's view of the job record, so that `AsyncResult(id)` works. There is no second copy."""

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        settings: Settings = app.distilq_settings
        self._store = JobStore(connect(settings.redis_url), settings)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            return _meta(self._store.get(task_id))
        except (JobNotFound, JobGone):
            return {"status": states.PENDING, "result": None}

    def _store_result(self, task_id: str, result: Any, state: str, *_: Any, **__: Any) -> None:
        """The engine writes results; what Celery adds is the revocation of a job."""
        if state == states.REVOKED:
            self._store.cancel(task_id)


def _meta(job: Job) -> dict[str, Any]:
    result: Any = None
    if job.result is not None:
        result = [[s.model_dump(mode="json", exclude_defaults=True) for s in r] for r in job.result]
    elif job.error is not None:
        result = DistilqError(job.error.get("detail") or job.error["title"])
    return {
        "status": STATES[job.status],
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": job.completed_at.isoformat() if job.completed_at else None,
        "name": TASK_NAME,
        "worker": None,
        "args": [],
        "kwargs": {},
        "task_id": job.id,
    }


def make_celery(settings: Settings) -> Celery:
    """The application for one model's queues; JSON only, in both directions."""
    celery = Celery("distilq", broker=broker_url(settings.redis_url), set_as_current=False)
    celery.distilq_settings = settings
    celery.conf.update(
        result_backend="distilq.celery_app:RecordBackend",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_queues=[
            Queue(name, Exchange(""), routing_key=name)
            for name in queue.queues(settings.model).values()
        ],
        task_default_queue=queue.queues(settings.model)["normal"],
        task_acks_late=True,
        # Seconds. Without them a half-open connection is never noticed (kombu's default is none).
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
        broker_connection_retry_on_startup=True,
    )
    if is_sentinel(settings.redis_url):
        master = SentinelGroup.parse(settings.redis_url).master
        celery.conf.broker_transport_options |= {"master_name": master}
    return celery


def __getattr__(name: str) -> Celery:
    """`app`, made when it is asked for: importing this module reads no environment."""
    if name == "app":
        return make_celery(Settings.from_env())
    raise AttributeError(name)
