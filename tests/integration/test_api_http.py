"""The API under gunicorn, over a real Redis; the tests play the worker."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from distilq.access import ApiKey, KeyRing
from distilq.claims import Claims
from distilq.cli.ports import free_port
from distilq.jobs import Outcome, Sequence
from distilq.testing import FAKE_WORKER
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[2]
MODEL = "bundled"
MOST_BYTES = 50_000
#: Three quarters of them may wait at once.
THREADS = 44
DEADLINE_S = 30
JSON = {"Content-Type": "application/json"}


@contextmanager
def serving(
    redis_url: str, host: str = "127.0.0.1", **settings: str
) -> Iterator[tuple[int, psutil.Process]]:
    """A gunicorn as in production: its port, and the process that serves.

    At the end it must stop by itself, and cleanly.
    """
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"]
    environment = {
        "DISTILQ_REDIS_URL": redis_url,
        "DISTILQ_MODEL": MODEL,
        "DISTILQ_MAX_BODY_BYTES": str(MOST_BYTES),
        "DISTILQ_API_THREADS": str(THREADS),
        "DISTILQ_MAX_SILENCE_S": "2",
        **settings,
    }
    with subprocess.Popen(
        [*command, "-b", f"{host}:{port}"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: answers(port))
            (child,) = psutil.Process(process.pid).children()
            yield port, child
        finally:
            process.terminate()
        assert process.wait(DEADLINE_S) == 0


def client_of(port: int) -> httpx.Client:
    limits = httpx.Limits(max_connections=None)
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def port(redis_url: str) -> Iterator[int]:
    """The port of a server that the tests of this file share."""
    with serving(redis_url) as (port, _):
        yield port


@pytest.fixture
def client(port: int, redis_client: Any) -> Iterator[httpx.Client]:
    with client_of(port) as client:
        yield client


@pytest.fixture
def claims(redis_client: Any) -> Claims:
    return Claims(redis_client, MODEL, "worker-1")


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").is_success
    except httpx.TransportError:
        return False


def finish_all(claims: Claims, text: str = "and on") -> None:
    sequence = Sequence(generated_text=text, finish_reason="length", generated_tokens=2, seed=7)
    outcome = Outcome(result=[[sequence]])
    claims.finish([(claim, outcome) for claim in claims.take(1_000)], {})


def submit(client: httpx.Client) -> str:
    return str(client.post("/v1/jobs", json={"inputs": "Once"}).json()["id"])


def poll(client: httpx.Client, job_id: str) -> httpx.Response:
    return client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})


def test_a_job_goes_from_submission_to_its_text(client: httpx.Client, claims: Claims) -> None:
    accepted = client.post("/v1/jobs", json={"inputs": "Grüße"})
    assert accepted.status_code == 202
    finish_all(claims, "Grüße und so weiter 🌍")
    job = client.get(accepted.headers["Location"]).json()
    assert job["status"] == "succeeded"
    assert client.get(job["urls"]["result"]).json() == [
        [{"generated_text": "Grüße und so weiter 🌍"}]
    ]


def test_it_is_ready_once_a_worker_beats(client: httpx.Client, claims: Claims) -> None:
    assert client.get("/readyz").status_code == 503
    now = datetime.now(timezone.utc)
    claims.beat(FAKE_WORKER.model_copy(update={"model": MODEL, "started_at": now, "seen_at": now}))
    assert client.get("/readyz").status_code == 200
    assert client.get("/v1/info").json()["serving"][0]["model"] == MODEL
    assert "float32" in client.get("/about").text


def test_a_connection_is_kept_through_errors_of_every_kind(port: int, redis_client: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.connect()
    sock = connection.sock
    for method, path, body, headers, status in (
        ("GET", "/livez", None, {}, 200),
        ("POST", "/v1/jobs", b'{"inputs": "a"}', {}, 415),
        ("POST", "/v1/jobs", b'{"inputs"', JSON, 400),
        ("HEAD", "/v1/queue", None, {}, 200),
        ("POST", "/v1/jobs", b" " * (MOST_BYTES + 1), JSON, 413),
        ("PATCH", "/v1/jobs", b"x", {}, 405),
        ("OPTIONS", "/v1/jobs", None, {}, 200),
        ("POST", "/v1/jobs", b'{"inputs": "a"}', JSON, 202),
    ):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is sock, f"{method} {path} closed the connection"
    connection.close()


def test_a_chunked_body_is_read_and_limited(client: httpx.Client) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"inputs": ["'
        yield from (b"x" * 1_000 for _ in range(size // 1_000))
        yield b'"]}'

    for size, status in ((20_000, 202), (MOST_BYTES, 413), (10 * MOST_BYTES, 413)):
        response = client.post("/v1/jobs", content=chunks(size), headers=JSON)
        assert response.request.headers["Transfer-Encoding"] == "chunked"
        assert response.status_code == status


def raw_answer(port: int, *parts: bytes) -> bytes:
    """What comes back for these bytes until the server closes or has answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while not received.endswith(b"}\n") and (more := connection.recv(65_536)):
            received += more  # the head comes by itself
        return received


HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


def test_a_body_with_broken_chunks_is_a_problem_of_the_client(port: int) -> None:
    answer = raw_answer(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"malformed_body" in answer


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
def test_an_answer_that_was_lost_is_got_by_sending_the_request_again(
    port: int, client: httpx.Client, path: str
) -> None:
    body = {"inputs": "a"} if path == "/v1/jobs" else {"jobs": [{"inputs": "a"}] * 3}
    proxy, lost = Proxy(port), iter([True, True])
    proxy.cuts = lambda answer: next(lost, False)
    sent = {"Idempotency-Key": f'"{path}"'}
    with closing(proxy), client_of(proxy.port) as far:
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                far.post(path, json=body, headers=sent)
        answer = far.post(path, json=body, headers=sent)
    assert answer.status_code == 202
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert client.get("/v1/queue").json()["queued"] == (1 if path == "/v1/jobs" else 3)


def test_two_idempotency_keys_are_none(client: httpx.Client) -> None:
    for key in ("a", '"a"'):
        sent = [("Idempotency-Key", key), ("Idempotency-Key", key)]
        response = client.post("/v1/jobs", json={"inputs": "a"}, headers=sent)
        assert response.status_code == 400


def test_clients_that_fall_silent_amid_a_request_do_not_hold_the_api(port: int) -> None:
    with ExitStack() as stack:
        for sent in [HEAD + b"Content-Length: 100\r\n\r\n{", HEAD[:30]] * THREADS:
            connection = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
            stack.enter_context(connection).sendall(sent)
        eventually(lambda: answers(port))
    answer = raw_answer(port, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_a_body_of_exactly_the_limit_is_taken(client: httpx.Client) -> None:
    for size, status in ((MOST_BYTES, 202), (MOST_BYTES + 1, 413)):
        body = b'{"inputs": "a"}'.ljust(size)
        assert client.post("/v1/jobs", content=body, headers=JSON).status_code == status


def test_others_are_answered_while_thirty_wait(redis_url: str, claims: Claims) -> None:
    with serving(redis_url) as (port, process), client_of(port) as client:
        job_id = submit(client)
        with ThreadPoolExecutor(30) as threads:
            polls = [threads.submit(poll, client, job_id) for _ in range(30)]
            eventually(lambda: process.num_threads() > 30)  # one thread per request, none to spare
            for path in ("/livez", "/v1/queue", f"/v1/jobs/{job_id}"):
                assert client.get(path).status_code == 200
            assert not any(it.done() for it in polls)
            finish_all(claims)
            answered = [it.result() for it in polls]
    assert {it.json()["status"] for it in answered} == {"succeeded"}
    assert {it.headers["Preference-Applied"] for it in answered} == {"wait=30"}


def test_more_long_polls_than_may_wait_leave_the_api_responsive(
    client: httpx.Client, claims: Claims
) -> None:
    job_id = submit(client)
    may_wait = THREADS * 3 // 4
    with ThreadPoolExecutor(2 * THREADS) as threads:
        polls = [threads.submit(poll, client, job_id) for _ in range(2 * THREADS)]
        eventually(lambda: sum(it.done() for it in polls) == 2 * THREADS - may_wait)
        assert client.get("/livez").status_code == 200
        finish_all(claims)
        answered = [it.result() for it in polls]
    waited = [it for it in answered if "Preference-Applied" in it.headers]
    assert len(waited) == may_wait
    assert {it.json()["status"] for it in waited} == {"succeeded"}


def test_score_answers_when_the_worker_does(client: httpx.Client, claims: Claims) -> None:
    with ThreadPoolExecutor() as threads:
        scored = threads.submit(client.post, "/score", json={"inputs": {"input_string": ["a"]}})
        eventually(lambda: client.get("/v1/queue").json()["queued"])
        assert client.get("/v1/queue").json()["priorities"]["interactive"]["jobs"] == 1
        finish_all(claims, "a b c")
        assert scored.result().json() == [[{"generated_text": "a b c"}]]


def test_hanging_up_on_score_cancels_its_job(client: httpx.Client, port: int) -> None:
    body = json.dumps({"inputs": "Once"}).encode()
    head = (
        "POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: client.get("/v1/jobs").json()["jobs"])
        (job,) = client.get("/v1/jobs").json()["jobs"]
        assert job["status"] == "queued"
    final = client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"}).json()
    assert final["status"] == "canceled"


def test_a_running_job_is_canceled_through_its_worker(client: httpx.Client, claims: Claims) -> None:
    job_id = submit(client)
    claims.take(8)
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert claims.next_cancel(DEADLINE_S) == job_id


def test_a_large_batch_is_taken_at_once(client: httpx.Client) -> None:
    response = client.post("/v1/jobs:batch", json={"jobs": [{"inputs": "a"}] * 1_000})
    refs = response.json()["jobs"]
    assert response.status_code == 202
    assert len({ref["id"] for ref in refs}) == 1_000
    found = client.post("/v1/jobs:status", json={"ids": [ref["id"] for ref in refs]}).json()
    assert [job["id"] for job in found["jobs"]] == [ref["id"] for ref in refs]
    assert {job["status"] for job in found["jobs"]} == {"queued"}


def test_a_stop_answers_those_who_wait(redis_url: str, redis_client: Any) -> None:
    body = {"inputs": "a"}
    with ThreadPoolExecutor() as threads:
        with serving(redis_url) as (port, _):
            url = f"http://127.0.0.1:{port}"
            patient = partial(httpx.post, json=body, headers={"Prefer": "wait=60"}, timeout=60)
            submitted = threads.submit(patient, f"{url}/v1/jobs")
            scored = threads.submit(patient, f"{url}/score")
            eventually(lambda: len(httpx.get(f"{url}/v1/jobs").json()["jobs"]) == 2)
        assert submitted.result().status_code == 202
        assert submitted.result().json()["status"] == "queued"
        assert scored.result().json()["type"] == "urn:distilq:problem:not_finished_in_time"


def test_where_others_reach_it_a_key_is_asked_for(redis_url: str, redis_client: Any) -> None:
    with serving(redis_url, "0.0.0.0") as (port, _), client_of(port) as client:
        assert client.get("/v1/info").status_code == 401
        assert client.get("/livez").status_code == 200
        token = KeyRing(redis_client).create(ApiKey(name="Anna"))
        client.headers["Authorization"] = f"Bearer {token}"
        path = client.post("/v1/jobs", json={"inputs": "a"}).headers["Location"]
        assert client.get(path).json()["status"] == "queued"
        assert client.post("/v1/queue:purge", json={}).status_code == 403
        other = KeyRing(redis_client).create(ApiKey(name="Ben"))
        assert client.get(path, headers={"Authorization": f"Bearer {other}"}).status_code == 404


@pytest.mark.parametrize(
    ("host", "auth", "status"), [("0.0.0.0", "off", 200), ("127.0.0.1", "on", 401)]
)
def test_whether_a_key_is_asked_for_can_be_said(
    redis_url: str, redis_client: Any, host: str, auth: str, status: int
) -> None:
    with serving(redis_url, host, DISTILQ_AUTH=auth) as (port, _), client_of(port) as client:
        assert client.get("/v1/info").status_code == status


def test_a_unix_socket_alone_asks_for_keys(
    redis_url: str, redis_client: Any, tmp_path: Path
) -> None:
    path = tmp_path / "api.sock"
    with serving(redis_url) as (_, process):
        command = [*process.cmdline()[:-1], f"unix:{path}"]
        with subprocess.Popen(
            command, cwd=ROOT, env=process.environ(), stderr=subprocess.DEVNULL
        ) as server:
            try:
                eventually(path.exists)
                with httpx.Client(
                    transport=httpx.HTTPTransport(uds=str(path)), base_url="http://api"
                ) as client:
                    assert client.get("/v1/info").status_code == 401
            finally:
                server.terminate()
