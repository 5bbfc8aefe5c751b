"""The message that stands in the queue: what Celery itself would have published.

It carries the job's id and nothing else; the request lies in the job record. The envelope follows
Celery's message protocol 2 and kombu's Redis transport; a contract test compares the two, so the
API need not import Celery to speak to it.
"""

from __future__ import annotations

import base64
import json

from distilq import keys
from distilq.jobs import TASK_NAME

#: Stand-ins that Lua fills in when it makes messages by itself.
ID, QUEUE = "@id@", "@queue@"

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_BODY = base64.b64encode(json.dumps([[], {}, _EMBED]).encode()).decode()


def _envelope() -> str:
    headers: dict[str, object] = {
        "lang": "py",
        "task": TASK_NAME,
        "id": ID,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": ID,
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
        "correlation_id": ID,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": ID,
    }
    return json.dumps(
        {
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


ENVELOPE = _envelope()


def message(job_id: str, queue: str) -> str:
    """The Celery message of one job, as it is pushed to the queue's list."""
    return ENVELOPE.replace(ID, job_id).replace(QUEUE, queue)


def queues(model: str) -> dict[str, str]:
    """Queue name by priority, the most urgent first."""
    return {priority: keys.queue(model, priority) for priority in keys.PRIORITIES}
