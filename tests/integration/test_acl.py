"""The three Redis users: each can do its work, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from flask.testing import FlaskClient
from typer.testing import CliRunner

from api.app import create_app
from api.batches.runner import Runner
from distilq import acl, keys
from distilq.access import ApiKey, KeyRing, Limits
from distilq.archive import Library
from distilq.celery_app import make_celery
from distilq.claims import Claims
from distilq.cli.app import app
from distilq.cli.ports import free_port
from distilq.connection import connect
from distilq.jobs import JobRequest, Outcome, Sequence
from distilq.samples import Samples
from distilq.scripts import Scripts
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import Sweeper
from distilq.testing import FAKE_WORKER
from distilq.webhooks.outbox import Outbox
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import Answer

ROOT = Path(__file__).parents[2]
MODEL = "simulated:step_ms=1"
Call = Callable[..., Any]
SLUG = keys.slug(MODEL)
JOB = {"inputs": "Once upon a time,", "parameters": {"max_new_tokens": 5}}
TOLD = {**JOB, "webhook": {"url": "https://hooks.example.com/"}}
TEXT = Sequence(generated_text="and on", finish_reason="length", generated_tokens=2, seed=7)


@pytest.fixture(scope="module")
def port(redis_server_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis of this file alone, with the three users beside the default one."""
    port = free_port()
    command = [
        str(redis_server_binary),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "yes",
    ]
    command += ["--dir", str(tmp_path_factory.mktemp("acl"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis(port=port) as admin:
                until(lambda: is_up(admin))
                for line in acl.lines([MODEL]):
                    admin.execute_command(*line.split())
            yield port
        finally:
            server.kill()


def is_up(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def admin(port: int) -> Iterator[Any]:
    with redis.Redis(port=port) as client:
        client.flushall()
        client.execute_command("ACL", "LOG", "RESET")
        yield client


def url(user: acl.User, port: int) -> str:
    return f"redis://{user.name}:{user.password}@127.0.0.1:{port}/0"


@pytest.fixture
def as_api(port: int) -> Iterator[Any]:
    with connect(url(acl.API, port)) as client:
        yield client


@pytest.fixture
def as_worker(port: int) -> Iterator[Any]:
    with connect(url(acl.WORKER, port)) as client:
        yield client


@pytest.fixture
def as_webhooks(port: int) -> Iterator[Any]:
    with connect(url(acl.WEBHOOKS, port)) as client:
        yield client


@pytest.fixture
def settings(port: int) -> Settings:
    return Settings(
        redis_url=url(acl.API, port),
        model=MODEL,
        auth="on",
        max_wait_s=30,
        storage_url="memory://acl",
        webhook_hosts="hooks.example.com",
    )


@pytest.fixture
def client(admin: Any, as_api: Any, settings: Settings) -> Iterator[FlaskClient]:
    store = JobStore(as_api, settings)
    yield create_app(settings, store, KeyRing(as_api), Library.over(as_api, settings)).test_client()
    store.close()


@pytest.fixture
def bearer(admin: Any) -> dict[str, str]:
    """A key with all there is: the admin scope, a rate, caps."""
    limits = Limits(rate_per_minute=1000, max_queued_jobs=1000, max_in_flight=1000)
    key = ApiKey(name="a", scopes=("jobs", "admin"), limits=limits)
    return {"Authorization": f"Bearer {KeyRing(admin).create(key)}"}


def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def refused(admin: Any) -> list[str]:
    """What Redis has refused to anybody since the test began.

    But for CLIENT SETINFO, by which redis-py introduces itself, and never minds.
    """
    told = ("reason", "context", "object", "username")
    return [
        " ".join(str(entry[name]) for name in told)
        for entry in admin.acl_log()
        if entry["object"] != "client"
    ]


def play_worker(claims: Claims) -> None:
    outcome = Outcome(result=[[TEXT]])
    claims.finish([(claim, outcome) for claim in claims.take(1000)], {"precision": "float32"})


@pytest.fixture
def call(client: FlaskClient, bearer: dict[str, str], admin: Any) -> Call:
    """Sends a request, which has to have this status; the answer's JSON."""

    def call(method: str, path: str, status: int, body: Any = None, **headers: str) -> Any:
        response = client.open(path, method=method, json=body, headers={**bearer, **headers})
        assert response.status_code == status, (path, response.text, refused(admin))
        return response.get_json() if response.is_json else None

    return call


def test_the_whole_api_works_as_its_user(
    client: FlaskClient,
    bearer: dict[str, str],
    call: Call,
    admin: Any,
    as_api: Any,
    settings: Settings,
) -> None:
    claims = Claims(admin, MODEL, "w1")
    claims.beat(FAKE_WORKER.model_copy(update={"model": MODEL}))
    path = f"/v1/jobs/{call('POST', '/v1/jobs', 202, JOB)['id']}"
    submit_and_look(call, path)
    for action in ("pause", "resume", "purge"):
        call("POST", f"/v1/queue:{action}", 200, {"priority": "bulk"})
    for read in ("/v1/queue", "/v1/info", "/v1/workers", "/v1/stats", "/readyz", "/about"):
        call("GET", read, 200)
    with client.get("/v1/stats/events", headers=bearer, buffered=False) as watching:
        assert b"event: snapshot" in b"".join(islice(watching.iter_encoded(), 2))
    play_worker(claims)
    call("GET", f"{path}/result", 200)
    running = call("POST", "/v1/jobs", 202, JOB)["id"]
    claims.take(8)
    call("POST", f"/v1/jobs/{running}/cancel", 202)
    cancel_while_somebody_waits(call, admin)
    score_while_a_worker_plays(call, admin)
    sweep_all_there_is(admin, as_api, settings)
    work_through_a_file(client, bearer, admin, call)
    assert refused(admin) == []


def submit_and_look(call: Call, path: str) -> None:
    batch = call("POST", "/v1/jobs:batch", 202, {"jobs": [JOB, {**JOB, "start_within_s": 60}]})
    ids = [ref["id"] for ref in batch["jobs"]]
    for level in ("interactive", "bulk"):
        call("POST", "/v1/jobs", 202, {**JOB, "priority": level})
    call("GET", path, 200, prefer="wait=1")
    call("GET", f"{path}/result", 409)
    call("POST", f"/v1/jobs/{ids[0]}/cancel", 200)
    call("DELETE", f"/v1/jobs/{ids[0]}", 204)
    call("POST", "/v1/jobs:status", 200, {"ids": [*ids, "0" * 32]})
    call("GET", "/v1/jobs", 200)
    call("GET", "/v1/jobs?status=queued&limit=1", 200)


def cancel_while_somebody_waits(call: Call, admin: Any) -> None:
    job_id = call("POST", "/v1/jobs", 202, JOB)["id"]
    path = f"/v1/jobs/{job_id}"
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(call, "GET", path, 200, prefer="wait=20")
        until(lambda: admin.hget(keys.job(job_id), "watchers"))
        call("POST", f"{path}/cancel", 200)
        assert waiting.result()["status"] == "canceled"


def score_while_a_worker_plays(call: Call, admin: Any) -> None:
    """/score waits in this thread; the job's end comes from another, as a worker's would."""

    def play() -> None:
        until(lambda: admin.hget(keys.counters(MODEL), "jobs:interactive") == b"1")
        time.sleep(0.2)  # so that the API has come to listen
        play_worker(Claims(admin, MODEL, "w2"))

    with ThreadPoolExecutor() as threads:
        played = threads.submit(play)
        call("POST", "/score", 200, JOB)
        played.result()


def work_through_a_file(
    client: FlaskClient, bearer: dict[str, str], admin: Any, call: Call
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/jobs", "body": JOB}
    form = {"purpose": "batch", "file": (BytesIO(json.dumps(line).encode()), "in.jsonl")}
    file_id = client.post("/v1/files", data=form, headers=bearer).get_json()["id"]
    asked = {"input_file_id": file_id, "endpoint": "/v1/jobs", "completion_window": "24h"}
    batch_id = call("POST", "/v1/batches", 200, asked)["id"]
    runner = Runner(client.application, client.application.extensions["distilq.archive"])
    runner.tick()
    play_worker(Claims(admin, MODEL, "w4"))
    call("GET", f"/v1/batches/{batch_id}/results", 200)
    call("POST", f"/v1/batches/{batch_id}/cancel", 200)
    runner.tick()
    assert call("GET", f"/v1/batches/{batch_id}", 200)["status"] == "cancelled"
    for path in ("/v1/batches", "/v1/files", f"/v1/files?after={file_id}"):
        call("GET", path, 200)
    call("DELETE", f"/v1/files/{file_id}", 200)


def sweep_all_there_is(admin: Any, as_api: Any, settings: Settings) -> None:
    """A lapsed lease, one too many, a missed deadline, an old tombstone."""
    store = JobStore(admin, settings)
    first, poisoned, late = (
        store.submit(JobRequest.model_validate({**JOB, "start_within_s": 60})).id for _ in range(3)
    )
    Claims(admin, MODEL, "w3").take(2)
    admin.hset(keys.job(poisoned), "deaths", 4)
    admin.zadd(keys.leases(MODEL), {first: 1, poisoned: 1})
    admin.hset(keys.job(late), "created", 1000)
    admin.zadd(keys.deadlines(MODEL), {late: 61_000})
    admin.zadd(keys.EXPIRY, {"0" * 32: 1})
    sweeper = Sweeper(as_api, MODEL)
    assert not sweeper.in_touch()
    assert Samples(as_api, Scripts(as_api), MODEL).keep()
    assert sweeper.sweep() == 2
    statuses = [store.get(job_id).status.value for job_id in (first, poisoned, late)]
    assert statuses == ["queued", "failed", "expired"]


@pytest.fixture
def worker(port: int, admin: Any, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker as its user, with Celery's gossip, mingle and events."""
    env = {
        "DISTILQ_REDIS_URL": url(acl.WORKER, port),
        "DISTILQ_MODEL": MODEL,
        "DISTILQ_DRAIN_S": "0",
    }
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-E", "-n", "w@%h"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | env, stdout=log, stderr=log
        ) as process,
    ):
        yield process
        process.kill()
    print((tmp_path / "log").read_text())  # shown with a failed test


def test_a_real_worker_works_as_its_user(
    worker: subprocess.Popen[bytes],
    client: FlaskClient,
    bearer: dict[str, str],
    admin: Any,
    port: int,
) -> None:
    sent = {**bearer, "Prefer": "wait=30"}
    until(lambda: client.get("/readyz").status_code == 200)
    done = client.post("/v1/jobs", json=JOB, headers=sent)
    assert (done.status_code, done.get_json()["status"]) == (200, "succeeded")
    assert client.post("/score", json=JOB, headers=sent).status_code == 200
    long = {**JOB, "parameters": {"max_new_tokens": 1000, "num_return_sequences": 64}}
    job = client.post("/v1/jobs", json=long, headers=bearer).get_json()
    path = f"/v1/jobs/{job['id']}"
    until(lambda: client.get(path, headers=bearer).get_json()["status"] == "running")
    assert client.post(f"{path}/cancel", headers=bearer).status_code in (200, 202)
    assert client.get(path, headers=sent).get_json()["status"] == "canceled"
    control(port, client, bearer)
    job = client.post("/v1/jobs", json=long, headers=bearer).get_json()
    until(lambda: admin.zcard(keys.leases(MODEL)) == 1)
    worker.terminate()
    assert worker.wait(60) == 0
    handed_back = client.get(f"/v1/jobs/{job['id']}", headers=bearer).get_json()
    assert (handed_back["status"], handed_back["attempt"]) == ("queued", 0)
    assert admin.xlen(keys.samples(MODEL)) > 0, "it samples as its user"
    assert refused(admin) == []


def control(port: int, client: FlaskClient, bearer: dict[str, str]) -> None:
    """`celery inspect active` and a revocation, by an operator who may more."""
    celery: Celery = make_celery(Settings(redis_url=f"redis://127.0.0.1:{port}/0", model=MODEL))
    with celery.connection_for_write() as connection:
        found = celery.control.inspect(timeout=5, limit=1, connection=connection).active()
        assert list((found or {}).values()) == [[]]
        client.post("/v1/queue:pause", json={}, headers=bearer)
        path = client.post("/v1/jobs", json=JOB, headers=bearer).headers["Location"]
        job_id = path.rpartition("/")[2]
        celery.control.revoke(job_id, connection=connection, reply=True, timeout=5, limit=1)
    client.post("/v1/queue:resume", json={}, headers=bearer)
    job = client.get(path, headers={**bearer, "Prefer": "wait=30"}).get_json()
    assert job["status"] == "canceled"


def test_the_dispatcher_of_webhooks_works_as_its_user(
    call: Call, admin: Any, as_api: Any, as_webhooks: Any, port: int
) -> None:
    done, canceled = (call("POST", "/v1/jobs", 202, TOLD)["id"] for _ in range(2))
    call("POST", f"/v1/jobs/{canceled}/cancel", 200)
    with connect(url(acl.WORKER, port)) as as_worker:
        play_worker(Claims(as_worker, MODEL, "w1"))
    outbox = Outbox(as_webhooks)
    entries = {entry.id: entry for entry in outbox.take(8, 8, {})}
    assert entries.keys() == {done, canceled}
    for entry, then in zip(entries.values(), (Next("pending", 60), Next("delivered")), strict=True):
        assert outbox.message(entry)
        assert outbox.end(entry, Answer(at_ms=0, duration_ms=1, status=500), then) == then.state
    for job_id in entries:
        call("GET", f"/v1/jobs/{job_id}/deliveries", 200)
        call("POST", f"/v1/jobs/{job_id}/redeliver", 202)
        call("DELETE", f"/v1/jobs/{job_id}", 204)
    admin.zadd(keys.outbox("hooks.example.com"), {done: 1})
    assert outbox.take(8, 8, {}) == []
    assert refused(admin) == []


OWN = keys.job("a")
FOREIGN = "session:42"

FORBIDDEN = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "CONFIG GET requirepass",
    "CONFIG SET dir /tmp",
    "CONFIG REWRITE",
    "EVAL return(1) 0",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "ACL LIST",
    "ACL WHOAMI",
    "ACL SETUSER x on nopass +@all ~*",
    "CLIENT LIST",
    "CLIENT KILL 127.0.0.1:1",
    "MONITOR",
    "DBSIZE",
    "SAVE",
    "BGREWRITEAOF",
    "REPLICAOF 127.0.0.1 1",
    "MODULE LIST",
    "SWAPDB 0 1",
    f"MIGRATE 127.0.0.1 1 {OWN} 0 1",
    f"DUMP {OWN}",
    f"RENAME {OWN} {FOREIGN}",
    f"COPY {OWN} {FOREIGN}",
    f"OBJECT ENCODING {OWN}",
    f"SORT {OWN}",
    f"SET {FOREIGN} x",
    f"GET {FOREIGN}",
    f"DEL {FOREIGN}",
    f"EXISTS {FOREIGN}",
    f"RPOP {FOREIGN}",
    f"LPUSH {FOREIGN} x",
    f"HGETALL {FOREIGN}",
    f"DEL {OWN} {FOREIGN}",
    "GET distilqx",
    "HGETALL distilq:other-model:counters",
    "RPOP distilq.other-model.normal",
    "PUBLISH elsewhere x",
    "SUBSCRIBE elsewhere",
    "PSUBSCRIBE *",
]
OF_THE_API = [
    "LPUSH celery x",
    "SMEMBERS _kombu.binding.celery.pidbox",
    "GET distilq:claimed:w1",
    "PUBLISH /0.celery.pidbox x",
    f"BRPOP distilq:{SLUG}:wake 1",
]
OF_WEBHOOKS = [
    f"HGETALL {keys.API_KEYS}",
    f"HGET {keys.API_KEYS} x",
    f"HSET {keys.OWNERS} x y",
    f"GET distilq:{SLUG}:once:x",
    f"LPUSH distilq.{SLUG}.normal x",
    f"HGETALL distilq:{SLUG}:counters",
    "PUBLISH distilq:waiters:x y",
]
OF_THE_WORKER = [
    f"HGETALL {keys.API_KEYS}",
    f"HSET {keys.API_KEYS} x y",
    "GET distilq:rate:x",
    "LPUSH celery x",
]


def is_refused() -> Any:
    """By the user's rights or, since Redis 7, DEBUG by a setting for everybody."""
    return pytest.raises(redis.exceptions.ResponseError, match=r"no permissions|not allowed")


@pytest.mark.parametrize("command", [*FORBIDDEN, *OF_THE_API])
def test_the_apis_user_may_do_nothing_else(admin: Any, as_api: Any, command: str) -> None:
    with is_refused():
        as_api.execute_command(*command.split(" "))


@pytest.mark.parametrize("command", [*FORBIDDEN, *OF_THE_WORKER])
def test_the_workers_user_may_do_nothing_else(admin: Any, as_worker: Any, command: str) -> None:
    with is_refused():
        as_worker.execute_command(*command.split(" "))


@pytest.mark.parametrize("command", [*FORBIDDEN, *OF_WEBHOOKS])
def test_the_dispatchers_user_may_do_nothing_else(
    admin: Any, as_webhooks: Any, command: str
) -> None:
    with is_refused():
        as_webhooks.execute_command(*command.split(" "))


@pytest.mark.parametrize(
    "user", [acl.API, acl.WORKER, acl.WEBHOOKS], ids=["api", "worker", "webhooks"]
)
@pytest.mark.parametrize(
    "script",
    [
        f"return redis.call('SET', '{FOREIGN}', 'x')",
        f"return redis.call('GET', '{FOREIGN}')",
        "return redis.call('FLUSHALL')",
        "return redis.call('CONFIG', 'GET', 'dir')",
    ],
)
def test_a_script_of_theirs_can_do_no_more(
    admin: Any, port: int, user: acl.User, script: str
) -> None:
    admin.set(FOREIGN, "untouched")
    with connect(url(user, port)) as client, pytest.raises(redis.ResponseError):
        client.evalsha(client.script_load(script), 0)
    assert admin.get(FOREIGN) == b"untouched"


def test_the_command_prints_all_lines_for_the_models_that_are_named() -> None:
    said = CliRunner().invoke(app, ["acl", "--model", MODEL, "--model", "distilgpt2"])
    assert said.stdout.splitlines() == acl.lines([MODEL, "distilgpt2"])
    one = CliRunner().invoke(app, ["acl"], env={"DISTILQ_MODEL": "bundled"})
    assert one.stdout.splitlines() == acl.lines(["bundled"])


def test_a_model_has_to_be_named() -> None:
    said = CliRunner().invoke(app, ["acl"])
    assert said.exit_code == 1
    assert said.stderr.startswith("distilq: name the model")
