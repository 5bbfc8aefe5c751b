"""kombu's own ways to put a message back: every one goes through the store's script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import kombu.pools
import pytest

from distilq import keys
from distilq.jobs import JobRequest, JobStatus
from distilq.settings import Settings
from distilq.store import JobStore
from worker.consumer import Consumer

MODEL = "simulated:step_ms=5"


@pytest.fixture
def worker_settings(settings: Callable[..., Settings]) -> Settings:
    return settings(model=MODEL)


@pytest.fixture
def store(redis_client: Any, worker_settings: Settings) -> Iterator[JobStore]:
    store = JobStore(redis_client, worker_settings)
    yield store
    store.close()


@pytest.fixture
def channel(
    redis_client: Any, worker_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A channel as the worker's consumer has it."""
    for name, value in worker_settings:
        monkeypatch.setenv(f"DISTILQ_{name.upper()}", str(value))
    from worker.app import create_worker

    with create_worker(worker_settings).connection_for_read() as connection:
        yield connection.default_channel
        connection.default_channel.holdings.claims.redis.close()
    kombu.pools.reset()


WAYS: dict[str, Callable[[Any, Any], object]] = {
    "reject": lambda channel, message: channel.qos.reject(message.delivery_tag, requeue=True),
    "refuse": lambda channel, message: channel.qos.reject(message.delivery_tag),
    "restore_by_tag": lambda channel, message: channel.qos.restore_by_tag(message.delivery_tag),
    "_restore": lambda channel, message: channel._restore(message),
    "_restore_at_beginning": lambda channel, message: channel._restore_at_beginning(message),
    "restore_unacked": lambda channel, message: channel.qos.restore_unacked(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_job_goes_back_as_the_store_would_put_it(
    store: JobStore, channel: Any, redis_client: Any, way: str
) -> None:
    job = store.submit(JobRequest(inputs="a"))
    name = keys.queue(MODEL, "normal")
    [before] = redis_client.lrange(name, 0, -1)
    [claim] = channel.holdings.take()
    message = channel.Message(json.loads(before), channel=channel)
    channel.qos.append(message, message.delivery_tag)

    WAYS[way](channel, message)
    assert redis_client.lrange(name, 0, -1) == [before]
    assert b"redelivered" not in before
    assert store.get(job.id).status is JobStatus.QUEUED
    assert store.get(job.id).attempt == 0
    assert redis_client.zcard(keys.leases(MODEL)) == 0
    assert channel.holdings.all() == []
    assert claim.id == job.id


def test_a_lost_channel_hands_nothing_back_and_writes_no_message_anywhere(
    store: JobStore, channel: Any, redis_client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = store.submit(JobRequest(inputs="a"))
    [raw] = redis_client.lrange(keys.queue(MODEL, "normal"), 0, -1)
    channel.holdings.take()
    message = channel.Message(json.loads(raw), channel=channel)
    channel.qos.append(message, message.delivery_tag)
    before = set(redis_client.keys())

    channel.qos.restore_unacked_once()
    channel.qos.restore_visible()
    assert set(redis_client.keys()) == before
    assert store.get(job.id).status is JobStatus.RUNNING
    assert capsys.readouterr() == ("", "")


def test_a_message_that_cannot_be_decoded_is_logged_by_its_size_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    acked: list[bool] = []
    message = SimpleNamespace(
        delivery_tag="a\nforged", body="a secret", ack=lambda: acked.append(True)
    )
    Consumer.on_decode_error(object.__new__(Consumer), message, ValueError("no"))
    assert caplog.messages == ["message 'a\\nforged' of 8 bytes cannot be decoded"]
    assert acked == [True]
