"""The message that Lua queues is one that Celery would have published, and one that it accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from celery import Celery

from distilq import keys, queue
from distilq.jobs import TASK_NAME, JobRequest
from distilq.settings import Settings
from distilq.store import JobStore

QUEUE = queue.queues("bundled")["normal"]

#: What differs from message to message, or names the sender.
FREE = {"origin", "reply_to", "delivery_tag"}


def submit(redis_client: Any, settings: Settings) -> tuple[str, dict[str, Any]]:
    job = JobStore(redis_client, settings).submit(JobRequest(inputs="Once upon a time,"))
    return job.id, json.loads(redis_client.lrange(QUEUE, 0, -1)[0])


def test_the_claim_knows_a_message_of_ours_without_reading_it_as_json(redis_client: Any) -> None:
    script = (files("distilq.lua") / "claim.lua").read_text()
    [pattern] = re.findall(r"^local OURS = .*\n(?:  .*\n)*", script, re.MULTILINE)
    code = f"{pattern}return string.match(ARGV[1], OURS)"
    assert redis_client.eval(code, 0, queue.message("0f" * 16, QUEUE)) == b"0f" * 16
    assert redis_client.eval(code, 0, queue.message("no id", QUEUE)) is None


def published_by_celery(redis_client: Any, redis_url: str, job_id: str) -> dict[str, Any]:
    redis_client.delete(QUEUE)
    with Celery(broker=redis_url, set_as_current=False) as celery:
        celery.send_task(
            TASK_NAME,
            task_id=job_id,
            queue=QUEUE,
            ignore_result=False,
            argsrepr="-",
            kwargsrepr="-",
        )
    published: dict[str, Any] = json.loads(redis_client.lrange(QUEUE, 0, -1)[0])
    return published


def without_free(message: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_free(value) if isinstance(value, dict) else value
        for key, value in message.items()
        if key not in FREE
    }


def test_the_queued_message_equals_the_one_that_kombu_publishes(
    redis_client: Any, redis_url: str, settings: Callable[..., Settings]
) -> None:
    job_id, ours = submit(redis_client, settings())
    theirs = published_by_celery(redis_client, redis_url, job_id)
    # kombu says the representations a second time among the properties; Celery reads the headers.
    for name in ("argsrepr", "kwargsrepr"):
        assert theirs["properties"].pop(name) == "-"
    assert without_free(ours) == without_free(theirs)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # kombu leaves its sockets to the collector
def test_a_stock_kombu_consumer_decodes_the_queued_message(
    redis_client: Any, redis_url: str, settings: Callable[..., Settings]
) -> None:
    job_id, _ = submit(redis_client, settings())
    with Celery(broker=redis_url, set_as_current=False) as celery:
        with celery.connection_for_read() as connection:
            message = connection.SimpleQueue(QUEUE).get(timeout=5)
        assert message.headers["id"] == job_id
        assert message.headers["task"] == TASK_NAME
        assert message.decode()[:2] == [[], {}]


def test_submission_leaves_no_result_subscription_behind(
    redis_client: Any, settings: Callable[..., Settings]
) -> None:
    submit(redis_client, settings())
    assert redis_client.pubsub_channels() == []
    assert {key.decode().split(":")[0] for key in redis_client.scan_iter()} == {"distilq", QUEUE}


def test_queue_keys_carry_the_model_and_the_record_a_version(
    redis_client: Any, settings: Callable[..., Settings]
) -> None:
    job_id, _ = submit(redis_client, settings())
    assert QUEUE == "distilq.bundled.normal"
    assert redis_client.hget(keys.job(job_id), "v") == str(keys.VERSION).encode()
