"""The message that stands in the queue: what Celery itself would have published.

It carries the job's id and nothing else; the request lies in the job record. The envelope follows
Celery's message protocol 2 and kombu's Redis transport; a contract test compares the two, so the
API need not import Celery to speak to it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from distilq import keys
from distilq.jobs import TASK_NAME

#: Stand-ins that Lua fills in when it makes messages by itself.
ID, QUEUE = "@id@", "@queue@"


def body() -> list[Any]:
    """Celery's arguments, keyword arguments and callbacks: none."""
    return [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


PLAIN_BODY = json.dumps(body()).encode()
BODY = base64.b64encode(PLAIN_BODY).decode()


def envelope(job_id: str, queue: str) -> dict[str, Any]:
    """The Celery message of one job, before it is written as JSON."""
    headers: dict[str, object] = {
        "lang": "py",
        "task": TASK_NAME,
        "id": job_id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": job_id,
        "parent_id": None,
        "argsrepr": "-",
        "kwargsrepr": "-",
        "origin": "distilq",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    properties = {
        "correlation_id": job_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": job_id,
    }
    return {
        "body": BODY,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }


ENVELOPE = json.dumps(envelope(ID, QUEUE))


def message(job_id: str, queue: str) -> str:
    """The Celery message of one job, as it is pushed to the queue's list."""
    return ENVELOPE.replace(ID, job_id).replace(QUEUE, queue)


def queues(model: str) -> dict[str, str]:
    """Queue name by priority, the most urgent first."""
    return {priority: keys.queue(model, priority) for priority in keys.PRIORITIES}
