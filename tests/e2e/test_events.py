"""Following jobs by server-sent events, against a running service."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.e2e.running import Running, until
from tests.e2e.sse import Message, follow, joined

pytestmark = pytest.mark.timeout(400)

PROMPTS = ["Once upon a time,", "Grüße, 世界 🌍", "", "She said: “", "The old house"]
#: Of these some stand across the borders of tokens, as the texts are drawn from all tokens evenly.
STOPS = ["e", "he", " the", "ou", "\n", "and a", "é", ", "]


def drawn_job(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    parameters = {
        "max_new_tokens": draw.randint(1, 40),
        "seed": number,
        "return_full_text": False,
        "num_return_sequences": draw.randint(1, 3),
        "stop": draw.sample(STOPS, draw.choice([0, 0, 1, 2])),
        # The hotter, the more tokens that are parts of characters.
        "temperature": draw.choice([0.7, 1.0, 5.0, 100.0]),
        "top_k": draw.choice([50, 0]),
    }
    inputs = [draw.choice(PROMPTS) for _ in range(draw.randint(1, 2))]
    return {"inputs": inputs, "parameters": parameters, "stream": True, "timeout_s": 300}


def submit(http: httpx.Client, body: dict[str, Any]) -> str:
    return str(http.post("/v1/jobs", json=body).raise_for_status().json()["id"])


def told(http: httpx.Client, job_id: str) -> list[Message]:
    return list(follow(http, job_id))


def texts(job: dict[str, Any]) -> list[list[str]]:
    return [[each["generated_text"] for each in sequences] for sequences in job["result"]]


@pytest.fixture
def many(service: Running) -> Any:
    """A client with as many connections as it takes."""
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=service.url, timeout=90, limits=limits, trust_env=False) as client:
        yield client


def test_what_streams_tell_is_the_text_of_200_jobs_of_all_sorts(many: httpx.Client) -> None:
    ids = [submit(many, drawn_job(number)) for number in range(200)]
    with ThreadPoolExecutor(60) as threads:
        for events in threads.map(lambda job_id: told(many, job_id), ids):
            assert events[-1].event == "done", events[-1]
            assert joined(events) == texts(events[-1].data)
            indexes: dict[Any, int] = {}
            for message in events:
                if message.event == "token":
                    place = (message.data["input"], message.data["sequence"])
                    assert message.data["index"] == indexes.get(place, 0)
                    indexes[place] = message.data["index"] + 1


def test_a_client_that_loses_its_connection_loses_nothing(many: httpx.Client) -> None:
    draw = random.Random(0)
    for number in range(5):
        job_id = submit(many, drawn_job(1000 + number))
        events: list[Message] = []
        while not events or events[-1].event != "done":
            last_id = events[-1].last_id if events else ""
            stream = follow(many, job_id, last_id)
            events += islice(stream, draw.randint(2, 12))
            stream.close()
        places = [message.last_id for message in events if message.event == "token"]
        assert len(places) == len(set(places))
        assert joined(events) == texts(events[-1].data)
        assert (
            many.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "end"}).status_code
            == 204
        )


def test_two_hundred_streams_are_open_while_others_are_served(
    service: Running, many: httpx.Client
) -> None:
    body = {"inputs": "Once", "stream": True, "parameters": {"max_new_tokens": 5}, "timeout_s": 300}
    many.post("/v1/queue:pause", json={"priority": "bulk"}).raise_for_status()
    with ThreadPoolExecutor(200) as threads:
        try:
            ids = [submit(many, body | {"priority": "bulk"}) for _ in range(200)]
            following = [threads.submit(told, many, job_id) for job_id in ids]
            until(lambda: open_connections(service) >= 200)
            answer = many.post("/score", json={"inputs": "Once", "parameters": {"seed": 1}})
            assert answer.status_code == 200
        finally:
            many.post("/v1/queue:resume", json={}).raise_for_status()
        assert all(it.result()[-1].event == "done" for it in following)


def open_connections(service: Running) -> int:
    """Clients' connections to the API's process."""
    port = int(service.url.rsplit(":", 1)[1])
    api = max(
        (p for p in service.descendants() if "gunicorn" in " ".join(p.cmdline())),
        key=lambda p: p.pid,
    )
    return sum(c.status == "ESTABLISHED" and c.laddr.port == port for c in api.net_connections())


def test_one_who_does_not_read_keeps_nobody_waiting(service: Running, many: httpx.Client) -> None:
    parameters = {"max_new_tokens": 200, "return_full_text": False}
    body = {"inputs": ["Once"] * 16, "stream": True, "parameters": parameters}
    slow, other = (submit(many, body | {"timeout_s": 300}) for _ in range(2))
    host, port = service.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(f"GET /v1/jobs/{slow}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        events = told(many, other)
        assert joined(events) == texts(events[-1].data)
        until(lambda: many.get(f"/v1/jobs/{slow}").json()["status"] == "succeeded")
    late = told(many, slow)
    assert joined(late) == texts(late[-1].data)


def test_a_stream_outlives_its_worker(start: Callable[..., Running]) -> None:
    running = start("--precision", "float32")
    with httpx.Client(base_url=running.url, timeout=90, trust_env=False) as http:
        parameters = {"max_new_tokens": 800, "seed": 3, "return_full_text": False}
        job_id = submit(http, {"inputs": "Once", "stream": True, "parameters": parameters})
        with ThreadPoolExecutor() as threads:
            staying = threads.submit(told, http, job_id)
            before = list(islice(follow(http, job_id), 30))
            running.descendant("celery", "worker").send_signal(signal.SIGKILL)
            time.sleep(1)
            back = threads.submit(lambda: list(follow(http, job_id, before[-1].last_id)))
            for events in (staying.result(120), back.result(120)):
                restarts = [m for m in events if m.event == "status" and "restarted" in m.data]
                assert len(restarts) == 1
                assert events[-1].event == "done"
                assert joined(events) == texts(events[-1].data)
        assert http.get(f"/v1/jobs/{job_id}").json()["attempt"] == 2
