"""One key, one submission: whoever else sends it, and whatever breaks meanwhile."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis

from distilq import keys
from distilq.claims import Claims
from distilq.cli.ports import free_port
from distilq.connection import connect
from distilq.errors import (
    IdempotencyInFlight,
    JobGone,
    QueueFull,
    StoreFull,
    StoreUnavailable,
)
from distilq.jobs import JobRequest, Outcome
from distilq.once import IN_FLIGHT, Once, batch_ids
from distilq.owner import Owner
from distilq.settings import Settings
from distilq.store import STAGED_PER_CALL, JobStore
from tests.chaos.proxy import Proxy

MODEL = "bundled"
ROUTE = "POST /v1/jobs k"
#: Over three calls of the staging script.
BATCH = [JobRequest(inputs="a")] * (2 * STAGED_PER_CALL + 1)
THREADS = 20

MakeStore = Callable[..., JobStore]


def once(fingerprint: str = "f", key: str = ROUTE) -> Once:
    return Once(key, fingerprint)


@pytest.fixture
def make_store(redis_url: str, redis_client: Any) -> Iterator[MakeStore]:
    """Stores with connections of their own, as the API's processes have them."""
    with ExitStack() as stack:

        def make(url: str = redis_url, model: str = MODEL, **settings: Any) -> JobStore:
            client = stack.enter_context(connect(url))
            store = JobStore(client, Settings(redis_url=url, model=model, **settings))
            return stack.enter_context(closing(store))

        yield make


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with closing(Proxy(int(redis_url.split(":")[2].split("/")[0]))) as proxy:
        yield proxy


def records(client: Any) -> int:
    return len(client.keys(keys.job("*")))


def what_stands_there(client: Any, owner: str = "") -> tuple[bytes, int]:
    name = keys.once(MODEL, owner, ROUTE)
    return client.get(name), client.ttl(name)


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What they return, or the errors that they raise, when all begin at the same moment."""
    barrier = threading.Barrier(len(calls))

    def call(it: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return it()
        except IdempotencyInFlight as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


@pytest.mark.parametrize("owner", ["", "anna"])
def test_many_threads_of_two_processes_make_one_job(
    make_store: MakeStore, redis_client: Any, owner: str
) -> None:
    views = [make_store().owned_by(Owner(owner)) for _ in range(2)]
    for number in range(10):
        tries = [once(key=str(number)) for _ in range(THREADS)]
        calls = [
            lambda view=views[n % 2], each=each: view.submit(JobRequest(inputs="a"), each).id
            for n, each in enumerate(tries)
        ]
        assert len(set(at_once(calls))) == 1
        assert sum(not each.replayed for each in tries) == 1
        assert records(redis_client) == views[0].queue().queued == number + 1


def test_many_threads_of_two_processes_make_one_batch(
    make_store: MakeStore, redis_client: Any
) -> None:
    stores = [make_store(), make_store()]
    calls = [lambda store=stores[n % 2]: store.submit_many(BATCH, once()) for n in range(THREADS)]
    found = at_once(calls)
    ids = [each for each in found if not isinstance(each, IdempotencyInFlight)]
    assert ids
    assert all(each == ids[0] for each in ids)
    assert stores[0].submit_many(BATCH, once()) == ids[0]
    assert records(redis_client) == stores[0].queue().queued == len(BATCH)


def test_a_key_is_of_one_models_queue(make_store: MakeStore) -> None:
    ids = [make_store(model=model).submit(BATCH[0], once()).id for model in (MODEL, "other")]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("batch", [False, True])
def test_answers_of_redis_that_are_lost_make_no_second_submission(
    make_store: MakeStore, proxy: Proxy, redis_client: Any, lost: int, batch: bool
) -> None:
    store = make_store(f"redis://127.0.0.1:{proxy.port}/0")
    store.submit(BATCH[0])  # connects, loads the scripts

    def submit(it: Once) -> list[str]:
        return store.submit_many(BATCH, it) if batch else [store.submit(BATCH[0], it).id]

    to_lose = [True] * lost
    proxy.cuts = lambda answer: bool(to_lose) and to_lose.pop()
    made: list[str] = []
    while not made:
        try:
            made = submit(once())
        except StoreUnavailable:  # cut more often than the client tries
            assert lost > 1
        except IdempotencyInFlight:  # who was writing it has been cut off
            assert batch
            assert 0 < what_stands_there(redis_client)[1] <= keys.IN_FLIGHT_S
            redis_client.delete(keys.once(MODEL, "", ROUTE))
    assert not to_lose
    assert submit(once()) == made
    assert store.queue().queued == len(made) + 1


def test_a_submission_sent_again_after_its_result_has_expired_is_not_made_anew(
    make_store: MakeStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, claims = make_store(), Claims(redis_client, MODEL, "worker-1")
    works = store._submit_together

    def sent_twice(args: list[str | int]) -> Any:
        works(args=args)
        (claim,) = claims.take(1)
        claims.finish([(claim, Outcome(result=[]))], {})
        redis_client.delete(keys.job(claim.id))
        return works(args=args)

    monkeypatch.setattr(store, "_submit_together", sent_twice)
    with pytest.raises(JobGone):
        store.submit(JobRequest(inputs="a", result_ttl_s=1), once())
    assert store.queue().queued == 0


def test_a_key_lives_for_a_day_and_is_small(make_store: MakeStore, redis_client: Any) -> None:
    store = make_store()
    store.submit_many(BATCH, once())
    _, ttl = what_stands_there(redis_client)
    assert keys.ONCE_S - 5 <= ttl <= keys.ONCE_S <= keys.TOMBSTONE_S
    assert redis_client.memory_usage(keys.once(MODEL, "", ROUTE)) < 300


def test_a_process_that_dies_amid_a_batch_keeps_its_key_for_seconds(
    make_store: MakeStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, store = make_store(), make_store()

    def dies(**call: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(dying._scripts, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        dying.submit_many(BATCH, once())
    with pytest.raises(IdempotencyInFlight):
        store.recall(once())
    with pytest.raises(IdempotencyInFlight):
        store.submit_many(BATCH, once())
    entry, ttl = what_stands_there(redis_client)
    assert entry.endswith(b" -")
    assert 0 < ttl <= keys.IN_FLIGHT_S
    redis_client.pexpire(keys.once(MODEL, "", ROUTE), 1)
    time.sleep(0.01)
    assert len(store.submit_many(BATCH, once())) == store.queue().queued == len(BATCH)


def test_of_two_that_write_the_same_batch_the_first_to_end_has_it(
    make_store: MakeStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = make_store(), make_store()
    commits, ids = slow._scripts.commit, []

    def overtaken(**call: Any) -> Any:
        redis_client.delete(keys.once(MODEL, "", ROUTE))  # it took longer than IN_FLIGHT_S
        ids.append(fast.submit_many(BATCH, once()))
        first = commits(**call)
        assert commits(**call) == first  # sent twice
        return first

    monkeypatch.setattr(slow._scripts, "commit", overtaken)
    late = once()
    assert slow.submit_many(BATCH, late) == ids[0]
    assert late.replayed
    assert records(redis_client) == fast.queue().queued == len(BATCH)


def test_who_ends_first_has_it_though_another_has_begun(
    make_store: MakeStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = make_store(), make_store()
    commits = slow._scripts.commit

    def late(**call: Any) -> Any:
        redis_client.delete(keys.once(MODEL, "", ROUTE))
        assert other._begun(once(), "0" * 32) is None
        return commits(**call)

    monkeypatch.setattr(slow._scripts, "commit", late)
    ids = slow.submit_many(BATCH, once())
    assert other.submit_many(BATCH, once()) == ids
    assert records(redis_client) == other.queue().queued == len(BATCH)


def test_a_batch_that_is_refused_frees_only_its_own_key(
    make_store: MakeStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(max_queued_jobs=10)
    with pytest.raises(QueueFull):
        store.submit_many(BATCH, once())
    assert what_stands_there(redis_client)[0] is None
    others = once().entry("0" * 32, IN_FLIGHT)
    commits = store._scripts.commit

    def late(**call: Any) -> Any:
        redis_client.set(keys.once(MODEL, "", ROUTE), others)
        return commits(**call)

    monkeypatch.setattr(store._scripts, "commit", late)
    with pytest.raises(QueueFull):
        store.submit_many(BATCH, once())
    assert what_stands_there(redis_client)[0] == others.encode()


def test_a_full_redis_takes_no_key_and_tells_of_those_it_has(
    make_store: MakeStore, redis_client: Any
) -> None:
    store = make_store()
    job, ids = store.submit(BATCH[0], once()), store.submit_many(BATCH, once(key="many"))
    redis_client.config_set("maxmemory", 1)
    try:
        assert store.submit(BATCH[0], once()).id == job.id
        assert store.recall(once(key="many")) == ids
        with pytest.raises(StoreFull):
            store.submit(BATCH[0], once(key="new"))
        with pytest.raises(StoreFull):
            store.submit_many(BATCH, once(key="newer"))
    finally:
        redis_client.config_set("maxmemory", 0)
    assert store.recall(once(key="new")) is store.recall(once(key="newer")) is None


def test_ids_of_a_batch_are_many_and_of_its_seed() -> None:
    ids = batch_ids("0" * 32, 10_000)
    assert len(set(ids)) == 10_000
    assert batch_ids("0" * 32, 10) == ids[:10]
    assert batch_ids("1" * 32, 10) != ids[:10]


def test_a_redis_that_starts_anew_knows_its_keys(
    redis_server_binary: Path, tmp_path: Path, make_store: MakeStore
) -> None:
    port = free_port()
    command = [str(redis_server_binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always"]
    store = make_store(f"redis://127.0.0.1:{port}/0")
    ids: list[list[str]] = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                until_it_answers(port)
                many = store.submit_many(BATCH, once(key="many"))
                ids.append([store.submit(BATCH[0], once()).id, *many])
                assert store.queue().queued == len(BATCH) + 1
            finally:
                server.kill()
    assert ids[0] == ids[1]


def until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis(port=port) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return
    raise AssertionError("redis-server does not answer")
