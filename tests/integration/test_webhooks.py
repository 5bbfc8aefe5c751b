"""Webhooks from the end of a job to its receiver, whatever either of them does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from standardwebhooks import Webhook

from distilq import keys
from distilq.claims import Claims
from distilq.deliveries import ATTEMPTS_KEPT, Deliveries
from distilq.errors import GenerationFailed, JobGone, NoWebhook
from distilq.jobs import JobRequest, Outcome, Priority, Sequence
from distilq.store import JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper
from distilq.webhooks import dispatcher, schedule, sending
from distilq.webhooks.dispatcher import AT_ONCE, PER_HOST, Dispatcher
from distilq.webhooks.outbox import Entry, Outbox
from distilq.webhooks.rules import Rules
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import Answer, Sender
from distilq.webhooks.signing import new_secret, read_secrets
from tests.integration.receiver import Receiver, receiving

ROOT = Path(__file__).parents[2]
SECRET = new_secret()
PROMPT, TEXT = "what the prompt says", "what the text says"
DONE = Outcome(
    result=[[Sequence(generated_text=TEXT, finish_reason="length", generated_tokens=1, seed=7)]]
)
RULES = Rules(("127.0.0.1", "localhost"), allow_private=True)
LOST = Answer(at_ms=1_000, duration_ms=1, trouble="timed_out")

Dispatching = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def outbox(redis_client: Any) -> Outbox:
    return Outbox(redis_client)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def dispatching(outbox: Outbox) -> Dispatching:
    """A dispatcher in a thread of its own, for the length of a block."""

    @contextmanager
    def dispatching() -> Iterator[None]:
        over = threading.Event()

        async def serve() -> None:
            stop = anyio.Event()
            one = Dispatcher(outbox, Sender(RULES), read_secrets(SECRET))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.run, stop)
                while not over.is_set():
                    await anyio.sleep(0.02)
                stop.set()

        thread = threading.Thread(target=anyio.run, args=(serve,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    return dispatching


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(schedule, "PAUSES_S", (0.01,) * 3)


def until(condition: Callable[[], Any], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ask(url: str, *events: str, **fields: Any) -> JobRequest:
    webhook = {"url": url, "events": events or None}
    body = {"inputs": PROMPT, "metadata": {"order": "7"}, "webhook": webhook, **fields}
    return JobRequest.model_validate(body, strict=False)


def finish_all(claims: Claims, outcome: Outcome = DONE) -> None:
    claims.finish([(claim, outcome) for claim in claims.take(1_000)], {})


def ended(store: JobStore, claims: Claims, url: str, **fields: Any) -> str:
    """A job that has succeeded and is to be told of."""
    job_id = store.submit(ask(url, **fields)).id
    finish_all(claims)
    return job_id


def settled(store: JobStore, job_id: str) -> Deliveries:
    """Its deliveries, once there has been an attempt or more and none is to come."""
    until(lambda: store.deliveries(job_id).state in ("delivered", "failed"))
    return store.deliveries(job_id)


def lapse(redis_client: Any, host: str = "127.0.0.1") -> None:
    """As if the leases had run out."""
    for job_id in redis_client.zrange(keys.outbox(host), 0, -1):
        redis_client.zadd(keys.outbox(host), {job_id: 1})
    redis_client.zadd(keys.OUTBOXES, {host: 1})


def take(outbox: Outbox) -> list[Entry]:
    return outbox.take(AT_ONCE, PER_HOST, {})


def test_a_receiver_is_told_and_can_verify_who_tells_it(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching
) -> None:
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        deliveries = settled(store, job_id)
    [got] = receiver.got
    assert got.path == "/hooks?of=tests"
    told = Webhook(SECRET).verify(got.body, got.headers)
    job = store.get(job_id)
    assert told == {
        "type": "job.succeeded",
        "timestamp": job.model_dump(mode="json")["completed_at"],
        "data": {
            "id": job_id,
            "status": "succeeded",
            "urls": job.urls.model_dump(),
            "metadata": {"order": "7"},
        },
    }
    assert PROMPT.encode() not in got.body
    assert TEXT.encode() not in got.body
    [attempt] = deliveries.attempts
    assert (deliveries.state, deliveries.next_try_at, attempt.status) == ("delivered", None, 204)


def cancel_queued(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    store.cancel(job_id)


def cancel_running(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    held = claims.take(1)
    store.cancel(job_id)
    claims.release(held)


def lose_a_canceling_worker(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    claims.take(1)
    store.cancel(job_id)
    redis.zadd(keys.leases("bundled"), {job_id: 1})
    Sweeper(redis, "bundled").sweep()


def purge(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    store.purge(Priority.NORMAL)


def fail(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    finish_all(claims, Outcome(error=GenerationFailed().problem()))


def poison(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    claims.take(1)
    redis.hset(keys.job(job_id), "deaths", MAX_DEATHS - 1)
    redis.zadd(keys.leases("bundled"), {job_id: 1})
    Sweeper(redis, "bundled").sweep()


def be_late_and_swept(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    redis.hset(keys.job(job_id), "created", 1_000)
    redis.zadd(keys.deadlines("bundled"), {job_id: 1})
    Sweeper(redis, "bundled").sweep()


def be_late_and_looked_at(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    redis.hset(keys.job(job_id), "created", 1_000)
    store.get(job_id)


def be_late_and_claimed(store: JobStore, claims: Claims, redis: Any, job_id: str) -> None:
    redis.hset(keys.job(job_id), "created", 1_000)
    assert claims.take(1) == []


ENDS = [
    (cancel_queued, "canceled"),
    (cancel_running, "canceled"),
    (lose_a_canceling_worker, "canceled"),
    (purge, "canceled"),
    (fail, "failed"),
    (poison, "failed"),
    (be_late_and_swept, "expired"),
    (be_late_and_looked_at, "expired"),
    (be_late_and_claimed, "expired"),
]


@pytest.mark.parametrize(("end", "status"), ENDS, ids=[end.__name__ for end, _ in ENDS])
def test_however_a_job_ends_its_word_is_left_in_the_same_call(
    store: JobStore,
    claims: Claims,
    redis_client: Any,
    outbox: Outbox,
    end: Callable[..., None],
    status: str,
) -> None:
    job_id = store.submit(ask("http://127.0.0.1:9/", start_within_s=60)).id
    assert take(outbox) == []
    end(store, claims, redis_client, job_id)
    [entry] = take(outbox)
    message = outbox.message(entry)
    assert message is not None
    assert f'"type":"job.{status}"'.encode() in message.body
    assert message.id == f"msg_{job_id}"


def test_only_the_ends_that_were_asked_for_are_told(
    store: JobStore, claims: Claims, outbox: Outbox
) -> None:
    asked = [
        ask("http://127.0.0.1:9/", "job.failed", "job.canceled"),
        ask("http://127.0.0.1:9/", "job.succeeded"),
    ]
    unwanted, wanted = store.submit_many(asked)
    finish_all(claims)
    assert [entry.id for entry in take(outbox)] == [wanted]
    assert store.deliveries(unwanted).state is None
    with pytest.raises(NoWebhook):
        store.redeliver(unwanted)


def test_a_receiver_that_fails_is_told_again_until_it_has_got_it(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching, at_once: None
) -> None:
    receiver.answers = [(500, {}), (404, {}), (200, {})]
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        deliveries = settled(store, job_id)
    assert deliveries.state == "delivered"
    assert [attempt.status for attempt in deliveries.attempts] == [500, 404, 200]
    assert {got.headers["webhook-id"] for got in receiver.got} == {f"msg_{job_id}"}
    assert len({got.body for got in receiver.got}) == 1
    for got in receiver.got:
        Webhook(SECRET).verify(got.body, got.headers)


def test_after_the_last_attempt_it_has_failed_and_can_be_asked_for_again(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching, at_once: None
) -> None:
    receiver.answers = [(500, {})] * 4
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        deliveries = settled(store, job_id)
        assert (deliveries.state, len(deliveries.attempts)) == ("failed", 4)
        for n in (5, 6):  # once more after it has failed, and once more after it was delivered
            assert store.redeliver(job_id).state == "pending"
            deliveries = settled(store, job_id)
            assert (deliveries.state, len(deliveries.attempts)) == ("delivered", n)
    assert {got.headers["webhook-id"] for got in receiver.got} == {f"msg_{job_id}"}


def test_a_redirect_is_a_failure_and_is_not_followed(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching, at_once: None
) -> None:
    with receiving() as elsewhere:
        receiver.answers = [
            (status, {"Location": elsewhere.url()}) for status in (301, 302, 307, 308)
        ]
        job_id = ended(store, claims, receiver.url())
        with dispatching():
            deliveries = settled(store, job_id)
        assert deliveries.state == "failed"
        assert [attempt.status for attempt in deliveries.attempts] == [301, 302, 307, 308]
        assert elsewhere.got == []


def test_410_is_the_end_of_it(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching
) -> None:
    receiver.answers = [(410, {})]
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        assert settled(store, job_id).state == "failed"
    assert len(receiver.got) == 1


def test_a_receiver_says_when_it_wants_to_be_asked_again(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching
) -> None:
    receiver.answers = [(503, {"Retry-After": "3000"})]
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        until(lambda: store.deliveries(job_id).attempts)
    deliveries = store.deliveries(job_id)
    assert deliveries.state == "pending"
    assert deliveries.next_try_at is not None
    pause = deliveries.next_try_at - deliveries.attempts[0].at
    assert pause.total_seconds() >= 3_000


def test_nobody_tries_beyond_the_life_of_the_record(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching
) -> None:
    receiver.answers = [(503, {"Retry-After": "3000"})]
    job_id = ended(store, claims, receiver.url(), result_ttl_s=2_000)
    with dispatching():
        assert settled(store, job_id).state == "failed"


def test_a_proxy_of_the_environment_is_not_asked(
    store: JobStore,
    claims: Claims,
    receiver: Receiver,
    dispatching: Dispatching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    job_id = ended(store, claims, receiver.url())
    with dispatching():
        assert settled(store, job_id).state == "delivered"


def test_a_host_that_is_on_the_list_no_more_is_not_told(
    store: JobStore, claims: Claims, dispatching: Dispatching
) -> None:
    job_id = ended(store, claims, "http://localhost.example:9/")
    with dispatching():
        until(lambda: store.deliveries(job_id).attempts)
    assert store.deliveries(job_id).attempts[0].error == "host_not_allowed"


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Accepts connections, in the kernel, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield listening


def test_a_receiver_that_never_answers_holds_up_nobody_but_itself(
    store: JobStore,
    claims: Claims,
    receiver: Receiver,
    deaf: socket.socket,
    dispatching: Dispatching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By then it has been sent to as often as it can be at once."""
    monkeypatch.setattr(sending, "ATTEMPT_S", 600.0)  # so that none is over meanwhile
    monkeypatch.setattr(dispatcher, "STOP_S", 0.0)
    silent = [ended(store, claims, f"http://localhost:{deaf.getsockname()[1]}/") for _ in range(30)]
    with dispatching():
        until(lambda: any(store.redis.hget(keys.delivery(i), "tries") for i in silent))
        told = [ended(store, claims, receiver.url()) for _ in range(20)]
        for job_id in told:
            assert settled(store, job_id).state == "delivered"
        taken = sum(store.redis.hget(keys.delivery(i), "tries") is not None for i in silent)
        assert taken <= PER_HOST
        assert {store.deliveries(job_id).state for job_id in silent} == {"pending"}
        # Jobs go on: nothing in their path knows of receivers.
        free = store.submit(JobRequest(inputs="a")).id
        finish_all(claims)
        assert store.get(free).status.final


def test_hosts_take_turns_however_much_is_due_at_one(
    store: JobStore, claims: Claims, outbox: Outbox
) -> None:
    first = [ended(store, claims, "http://localhost:9/") for _ in range(6)]
    second = [ended(store, claims, "http://127.0.0.1:9/") for _ in range(2)]
    taken = [outbox.take(1, 1, {})[0].id for _ in range(4)]
    assert len({*taken} & {*first}) == 2
    assert {*second} < {*taken}


def test_a_host_without_room_is_left_out(store: JobStore, claims: Claims, outbox: Outbox) -> None:
    for host in ("localhost", "127.0.0.1"):
        for _ in range(6):
            ended(store, claims, f"http://{host}:9/")
    taken = outbox.take(AT_ONCE, PER_HOST, {"localhost": 0, "127.0.0.1": 1})
    assert [entry.host for entry in taken] == ["127.0.0.1"]
    assert len(outbox.take(3, PER_HOST, {})) == 3


def test_an_entry_is_one_dispatchers_until_its_lease_lapses(
    store: JobStore, claims: Claims, outbox: Outbox, redis_client: Any
) -> None:
    job_id = ended(store, claims, "http://127.0.0.1:9/")
    [first] = take(outbox)
    assert take(outbox) == []
    lapse(redis_client)
    [second] = take(outbox)
    assert (second.id, second.tries) == (job_id, 2)
    assert second.fence > first.fence
    assert outbox.end(first, LOST, Next("failed")) is None
    assert store.deliveries(job_id).attempts == []
    assert outbox.end(second, LOST, Next("pending", 0)) == "pending"
    assert outbox.end(second, LOST, Next("failed")) is None, "sent twice, it is noted once"
    assert [attempt.error for attempt in store.deliveries(job_id).attempts] == ["timed_out"]
    assert [entry.tries for entry in take(outbox)] == [3]


def test_the_last_attempts_are_kept(store: JobStore, claims: Claims, outbox: Outbox) -> None:
    job_id = ended(store, claims, "http://127.0.0.1:9/")
    for n in range(ATTEMPTS_KEPT + 5):
        [entry] = take(outbox)
        outbox.end(entry, Answer(at_ms=n, duration_ms=n, status=500), Next("pending", 0))
    kept = [attempt.duration_ms for attempt in store.deliveries(job_id).attempts]
    assert kept == list(range(5, ATTEMPTS_KEPT + 5))


def test_a_job_that_is_deleted_is_told_no_more(
    store: JobStore, claims: Claims, outbox: Outbox, redis_client: Any
) -> None:
    job_id, taken_already = (ended(store, claims, "http://127.0.0.1:9/") for _ in range(2))
    store.delete(job_id)
    [entry] = take(outbox)
    assert entry.id == taken_already
    store.delete(taken_already)
    assert outbox.message(entry) is None
    assert outbox.end(entry, LOST, Next("pending", 0)) is None
    lapse(redis_client)
    assert take(outbox) == []
    assert redis_client.exists(keys.outbox("127.0.0.1"), keys.OUTBOXES) == 0
    for gone in (store.deliveries, store.redeliver):
        with pytest.raises(JobGone):
            gone(job_id)


def test_what_is_known_of_a_delivery_goes_with_the_record(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    job_id = ended(store, claims, "http://127.0.0.1:9/", result_ttl_s=1_000)
    for _ in range(2):
        record, delivery = (
            redis_client.pttl(key) for key in (keys.job(job_id), keys.delivery(job_id))
        )
        assert abs(record - delivery) < 10_000
        store.redeliver(job_id)


@pytest.fixture
def program(redis_url: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts `distilq webhooks run`."""
    started: list[subprocess.Popen[bytes]] = []
    env = {
        "DISTILQ_REDIS_URL": redis_url,
        "DISTILQ_WEBHOOK_HOSTS": "127.0.0.1",
        "DISTILQ_WEBHOOK_ALLOW_PRIVATE": "true",
        "DISTILQ_WEBHOOK_SECRETS": SECRET,
    }
    command = [sys.executable, "-m", "distilq.cli", "webhooks", "run"]

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_dispatcher_that_is_killed_amid_a_delivery_leaves_it_to_another(
    store: JobStore,
    claims: Claims,
    receiver: Receiver,
    redis_client: Any,
    program: Callable[[], subprocess.Popen[bytes]],
) -> None:
    receiver.open.clear()
    job_id = ended(store, claims, receiver.url())
    first = program()
    until(lambda: receiver.got)
    first.send_signal(signal.SIGKILL)
    first.wait()
    receiver.open.set()
    assert store.deliveries(job_id).state == "pending"
    lapse(redis_client)
    second = program()
    assert settled(store, job_id).state == "delivered"
    ids = [got.headers["webhook-id"] for got in receiver.got]
    assert ids == [f"msg_{job_id}"] * 2
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


def test_one_that_is_stopped_ends_what_it_has_begun(
    store: JobStore,
    claims: Claims,
    receiver: Receiver,
    program: Callable[[], subprocess.Popen[bytes]],
) -> None:
    receiver.open.clear()
    job_id = ended(store, claims, receiver.url())
    running = program()
    until(lambda: receiver.got)
    running.send_signal(signal.SIGTERM)
    later = ended(store, claims, receiver.url())
    receiver.open.set()
    assert running.wait(30) == 0
    assert store.deliveries(job_id).state == "delivered"
    assert later  # told or not, as the signal came; never lost
    assert store.deliveries(later).state in ("pending", "delivered")
    said = running.stdout.read().decode() if running.stdout else ""
    assert f"webhook of job {job_id} to 127.0.0.1: 204" in said
    assert "of=tests" not in said


def test_several_dispatchers_tell_each_end_once(
    store: JobStore, claims: Claims, receiver: Receiver, dispatching: Dispatching
) -> None:
    ids = store.submit_many([ask(receiver.url())] * 60)
    with dispatching(), dispatching(), dispatching():
        finish_all(claims)
        for job_id in ids:
            assert settled(store, job_id).state == "delivered"
    assert sorted(got.message["data"]["id"] for got in receiver.got) == sorted(ids)


def test_a_receiver_that_trickles_is_given_no_more_time_than_others(
    store: JobStore,
    claims: Claims,
    dispatching: Dispatching,
    deaf: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_S", 0.3)
    over = threading.Event()

    def trickle() -> None:
        connection, _ = deaf.accept()
        with connection:
            while not over.wait(0.02):
                try:
                    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    job_id = ended(store, claims, f"http://127.0.0.1:{deaf.getsockname()[1]}/")
    with dispatching():
        until(lambda: store.deliveries(job_id).attempts)
    over.set()
    thread.join()
    assert store.deliveries(job_id).attempts[0].error == "timed_out"


def test_a_host_that_did_not_answer_is_sent_one_at_a_time_until_it_does(
    store: JobStore, claims: Claims, receiver: Receiver, outbox: Outbox
) -> None:
    """Of many that are due at once, so that its backlog holds no place of others."""
    one = Dispatcher(outbox, Sender(RULES), read_secrets(SECRET))
    for _ in range(PER_HOST + 5):
        ended(store, claims, receiver.url())
    one._remember("127.0.0.1", silent=True)
    assert len(anyio.run(one._take)) == 1
    one._remember("127.0.0.1", silent=False)
    assert len(anyio.run(one._take)) == PER_HOST
