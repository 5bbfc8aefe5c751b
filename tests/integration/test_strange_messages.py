"""Whatever lies in the queues: no claim fails or stands still, no real job is lost or run twice.

Whoever can write to Redis can do worse; this is about mistakes, and about other programs' messages.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from distilq import keys, queue
from distilq.claims import Claims
from distilq.dead import DeadList
from distilq.errors import JobNotFound
from distilq.jobs import JobRequest, JobStatus, Priority
from distilq.settings import Settings
from distilq.store import JobStore

ROOT = Path(__file__).parents[2]
SIMULATED = "simulated:step_ms=1"

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
shapes = st.fixed_dictionaries(
    {"headers": json_values | st.fixed_dictionaries({"id": json_values})},
    optional={"body": json_values, "properties": json_values},
)
#: Bytes, JSON, almost a message, one of nobody's job; nesting deeper than cjson reads.
messages = st.one_of(
    st.binary(),
    json_values.map(json.dumps).map(str.encode),
    shapes.map(json.dumps).map(str.encode),
    st.just(b"[" * 5_000),
    st.just(b'{"headers":{"id":1e999}}'),
    st.just(queue.message("f" * 32, "q").encode()),
)


@pytest.fixture
def store(redis_client: Any, settings: Callable[..., Settings]) -> JobStore:
    return JobStore(redis_client, settings())


@hypothesis(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=st.lists(messages, max_size=5),
    after=st.lists(messages, max_size=5),
    priority=st.sampled_from(keys.PRIORITIES),
    twice=st.booleans(),
)
def test_a_claim_takes_the_real_job_once_and_parks_the_rest(
    store: JobStore,
    redis_client: Any,
    before: list[bytes],
    after: list[bytes],
    priority: str,
    twice: bool,
) -> None:
    redis_client.flushall()
    name = keys.queue("bundled", priority)
    _push(redis_client, name, before)
    job = store.submit(JobRequest(inputs="a", priority=Priority(priority)))
    _push(redis_client, name, after + redis_client.lrange(name, 0, 0) * twice)

    claims = Claims(redis_client, "bundled", "w")
    assert [claim.id for claim in claims.take(8) + claims.take(8)] == [job.id]
    assert redis_client.llen(name) == 0
    assert store.queue().queued == 0
    parked = {entry.message.encode() for entry in DeadList(store).entries()}
    clean = {m.decode(errors="replace").encode() for m in before + after}
    assert parked == clean


def _push(redis_client: Any, name: str, texts: list[bytes]) -> None:
    for text in texts:
        redis_client.lpush(name, text)


def test_a_message_of_another_models_job_leaves_that_job_alone(
    store: JobStore, redis_client: Any, settings: Callable[..., Settings]
) -> None:
    others = JobStore(redis_client, settings(model="distilgpt2"))
    job = others.submit(JobRequest(inputs="a"))
    redis_client.lpush(keys.queue("bundled", "normal"), queue.message(job.id, "q"))
    assert Claims(redis_client, "bundled", "w").take(8) == []
    assert [entry.reason for entry in DeadList(store).entries()] == ["foreign"]
    assert others.queue().queued == 1
    assert [c.id for c in Claims(redis_client, "distilgpt2", "v").take(8)] == [job.id]


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def pickled_message(path: Path, job_id: str) -> str:
    """What Celery with the pickle serializer publishes."""
    message = json.loads(queue.message(job_id, "q"))
    message["body"] = base64.b64encode(pickle.dumps(Exploit(path))).decode()
    message["content-type"] = "application/x-python-serialize"
    message["content-encoding"] = "binary"
    return json.dumps(message)


def test_a_pickled_message_never_runs_and_never_kills_a_worker(
    redis_client: Any, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    chosen = settings(model=SIMULATED)
    store, trap = JobStore(redis_client, chosen), tmp_path / "run"
    job = store.submit(JobRequest(inputs="a"))
    name = keys.queue(SIMULATED, "normal")
    redis_client.rpush(name, pickled_message(trap, job.id), pickled_message(trap, "e" * 32))
    env = os.environ | {f"DISTILQ_{field.upper()}": str(value) for field, value in chosen}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", "pickled@%h"]
    with (tmp_path / "log").open("wb") as out:
        worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        assert store.wait(job.id, 60).status is JobStatus.SUCCEEDED
        # Over Celery's own remote control too: there kombu decodes what it is sent.
        control = json.loads(pickled_message(trap, "e" * 32))
        redis_client.publish("/0.celery.pidbox", json.dumps(control))
        time.sleep(1)
        assert store.wait(store.submit(JobRequest(inputs="b")).id, 60).status.final
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()
        store.close()
        print((tmp_path / "log").read_text())  # shown with a failed test
    assert not trap.exists()
    with pytest.raises(JobNotFound):
        store.get("e" * 32)
