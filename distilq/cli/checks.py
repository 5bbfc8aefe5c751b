"""What `distilq doctor` finds, one thing at a time; here what the service says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from distilq.cli.errors import ADVICE
from distilq.cluster import Info, QueueState, WorkerState
from distilq.errors import DistilqError, Forbidden, Unauthorized

if TYPE_CHECKING:
    from distilq.client import Client

#: Seconds without a heartbeat, which comes every second, after which something is slow.
SILENT_S = 5.0
#: Part of a limit beyond which it is worth a word.
NEARLY = 0.9


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `advice` is what to do about it."""

    name: str
    state: Literal["ok", "warn", "fail", "skip"]
    said: str
    advice: str = ""


def service_checks(client: Client, *, with_key: bool) -> Iterator[Check]:
    try:
        info = client.info()
        yield _version(info)
        yield Check("key", "ok", "accepted" if with_key else "none is asked for")
        workers, queue = client.workers(), client.queue()
    except (Unauthorized, Forbidden) as error:
        yield Check("service", "ok", "answers")
        yield Check("key", "fail", str(error), ADVICE["unauthorized"])
    except DistilqError as error:
        yield Check("service", "fail", str(error), ADVICE.get(error.code, ""))
    else:
        yield from _workers(workers)
        yield from _queue(queue, info, workers)


def _version(info: Info) -> Check:
    own = metadata.version("distilq")
    if info.version == own:
        return Check("service", "ok", f"distilq {own}, set up for {info.model}")
    said = f"the service is distilq {info.version}, this command {own}"
    return Check("service", "warn", said, "install the same version on both sides")


def _workers(workers: list[WorkerState]) -> Iterator[Check]:
    if not workers:
        advice = "start one: `distilq up`, or as docs/running.md says; its log tells why it ends"
        yield Check("workers", "fail", "none is alive: jobs wait", advice)
    elif all(worker.draining for worker in workers):
        yield Check("workers", "fail", "all are drained: jobs wait", "`distilq workers resume ID`")
    now = datetime.now(timezone.utc)
    for worker in workers:
        ago_s = max(0.0, (now - worker.seen_at).total_seconds())
        what = f"{worker.model}, {worker.precision} on {worker.device}"
        said = f"{worker.id} on {worker.host}: {what}; last heard of {ago_s:.0f} s ago"
        said += "; drained: it takes no more jobs" * worker.draining
        slow = ago_s > SILENT_S
        advice = "is that machine overloaded, or its clock wrong?" if slow else ""
        yield Check("worker", "warn" if slow else "ok", said, advice)


def _queue(queue: QueueState, info: Info, workers: list[WorkerState]) -> Iterator[Check]:
    said = f"{queue.queued} jobs wait, {queue.running} run, {queue.drain_jobs_per_s:.1f} end per s"
    if queue.queued and all(worker.draining for worker in workers):
        advice = "they wait for a worker: start one, or resume one that is drained"
        yield Check("queue", "fail", said, advice)
    elif queue.queued > NEARLY * info.limits.max_queued_jobs:
        advice = "soon none is accepted: add workers, or raise DISTILQ_MAX_QUEUED_JOBS"
        yield Check("queue", "warn", f"{said}; at most {info.limits.max_queued_jobs}", advice)
    else:
        yield Check("queue", "ok", said)
    if queue.paused:
        names = ", ".join(priority.value for priority in queue.paused)
        advice = "an admin's key resumes it: POST /v1/queue:resume"
        yield Check("queue", "warn", f"no worker takes {names} jobs: paused", advice)
