"""Requests that are sent twice, against a running service."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.e2e.running import Running, until

pytestmark = pytest.mark.timeout(400)

JOB = {"inputs": "Once upon a time,", "parameters": {"max_new_tokens": 20}}
BATCH = {"jobs": [{"inputs": "a", "parameters": {"max_new_tokens": 1}}] * 2_000}


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid4()}"'}


def sent_and_left(url: str, path: str, content: bytes, headers: dict[str, str]) -> None:
    """Send a request and close the connection without waiting for the answer."""
    fields = {"Host": "a", "Content-Length": str(len(content)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    at = urlsplit(url)
    with socket.create_connection((str(at.hostname), at.port or 80), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)


def test_twenty_at_once_are_one_job(service: Running, key: dict[str, str]) -> None:
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=service.url, timeout=90, limits=limits, trust_env=False) as many,
        ThreadPoolExecutor(20) as pool,
    ):
        calls = [pool.submit(many.post, "/v1/jobs", json=JOB, headers=key) for _ in range(20)]
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


def test_scores_at_once_share_a_job_and_its_texts(service: Running, key: dict[str, str]) -> None:
    def score(_: int) -> httpx.Response:
        return httpx.post(f"{service.url}/score", json=JOB, headers=key, timeout=90)

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(score, range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Job-Id"] for answer in answers}) == 1
    assert all(answer.json() == answers[0].json() for answer in answers)


def test_who_left_and_comes_again_gets_the_text_of_the_first_job(
    service: Running, http: httpx.Client, key: dict[str, str]
) -> None:
    body = {**JOB, "parameters": {"max_new_tokens": 300, "min_new_tokens": 300}}
    content, sent = json.dumps(body).encode(), {"Content-Type": "application/json", **key}
    before = newest(http)
    sent_and_left(service.url, "/score", content, sent)
    until(lambda: newest(http) != before, 30)
    answer = http.post("/score", content=content, headers=sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.headers["X-Job-Id"] == newest(http)
    other = http.post("/score", json=body, headers=key)  # the same, written without spaces
    assert other.status_code == 422
    assert other.json()["type"] == "urn:distilq:problem:idempotency_key_reused"


def newest(http: httpx.Client) -> str | None:
    jobs = http.get("/v1/jobs", params={"limit": 1}).json()["jobs"]
    return jobs[0]["id"] if jobs else None


def test_an_api_that_is_killed_amid_a_batch_leaves_one_of_it_or_none(
    start: Callable[..., Running],
) -> None:
    running = start()
    for batches, delay_s in enumerate((0.02, 0.1, 0.2, 0.3), start=1):
        sent = {"Idempotency-Key": f'"{uuid4()}"'}
        going = threading.Thread(target=lost, args=(running.url, sent))
        going.start()
        time.sleep(delay_s)
        for process in running.descendants():
            if "gunicorn" in " ".join(process.cmdline()):
                process.kill()  # its child too, which would go on for a second
        going.join()
        answer = until_accepted(running, sent)
        assert len(answer.json()["jobs"]) == len(BATCH["jobs"])
        with httpx.Client(base_url=running.url, timeout=90, trust_env=False) as http:
            assert sum(1 for _ in every_job(http)) == batches * len(BATCH["jobs"])


def lost(url: str, headers: dict[str, str]) -> None:
    with suppress(httpx.TransportError):
        httpx.post(f"{url}/v1/jobs:batch", json=BATCH, headers=headers, timeout=90)


def until_accepted(running: Running, headers: dict[str, str]) -> httpx.Response:
    """The answer, once the service is there again and nobody writes this batch any more."""
    found: list[httpx.Response] = []

    def accepted() -> bool:
        try:
            answer = httpx.post(
                f"{running.url}/v1/jobs:batch", json=BATCH, headers=headers, timeout=90
            )
        except httpx.TransportError:
            return False
        assert answer.status_code in (202, 409), answer.text
        found.append(answer)
        return answer.status_code == 202

    until(accepted, 60)
    return found[-1]


def every_job(http: httpx.Client) -> Iterator[str]:
    cursor: str | None = None
    while True:
        given = {"limit": 200} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/jobs", params=given).raise_for_status().json()
        yield from (job["id"] for job in page["jobs"])
        cursor = page["next"]
        if cursor is None:
            return
