"""A real worker, drained and resumed over HTTP while it works."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from distilq.client import Client
from distilq.jobs import Job
from tests.e2e.running import Running, until

LONG = {
    "inputs": "Once",
    "parameters": {"min_new_tokens": 300, "max_new_tokens": 300, "num_return_sequences": 4},
}


@pytest.fixture
def client(service: Running, http: httpx.Client) -> Iterator[Client]:
    """All workers take jobs again afterwards: others use the service too."""
    with Client(service.url) as client:
        yield client
        for worker in client.workers():
            client.resume_worker(worker.id)
        until(lambda: http.get("/readyz").is_success)


def test_a_drained_worker_ends_what_it_runs_and_leaves_the_rest_until_it_is_resumed(
    client: Client, http: httpx.Client
) -> None:
    [worker] = client.workers()
    running = client.job(http.post("/v1/jobs", json=LONG).json()["id"])
    until(lambda: running.status().status.value != "queued")
    assert client.drain_worker(worker.id).draining
    waiting = client.submit("The sea", max_new_tokens=2)
    assert running.wait(90).status.value == "succeeded"
    assert (client.workers()[0].draining, client.queue().workers) == (True, 0)
    refused = http.get("/readyz")
    assert (refused.status_code, "resumed" in refused.text) == (503, True)
    assert waiting.status().status.value == "queued"
    client.resume_worker(worker.id)
    assert waiting.wait(90).status.value == "succeeded"
    ended: Job = waiting.status()
    told = waiting.timeline().events
    assert [event.event for event in told] == ["accepted", "claimed", "first_token", "succeeded"]
    assert (told[1].worker, told[1].at) == (worker.id, ended.started_at)
