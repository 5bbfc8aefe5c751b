"""Webhooks of a real `distilq up`, whose dispatcher is killed on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from distilq.webhooks.signing import new_secret
from tests.e2e.running import Running, alive, until
from tests.integration.receiver import receiving

pytestmark = pytest.mark.timeout(400)  # see test_up.py


def test_the_end_of_a_job_is_told_and_again_after_the_dispatchers_death(
    start: Callable[..., Running],
) -> None:
    secret = new_secret()
    running = start(
        DISTILQ_WEBHOOK_HOSTS="127.0.0.1",
        DISTILQ_WEBHOOK_ALLOW_PRIVATE="true",
        DISTILQ_WEBHOOK_SECRETS=secret,
    )
    with receiving() as receiver, httpx.Client(base_url=running.url, timeout=60) as client:

        def told() -> Any:
            body = {"inputs": "Once upon a time,", "webhook": {"url": receiver.url()}}
            job_id = client.post("/v1/jobs", json=body).json()["id"]
            path = f"/v1/jobs/{job_id}/deliveries"
            until(lambda: client.get(path).json()["state"] == "delivered", 120)
            got = next(g for g in receiver.got if g.message["data"]["id"] == job_id)
            return Webhook(secret).verify(got.body, got.headers)

        assert told()["type"] == "job.succeeded"
        running.descendant("webhooks", "run").kill()
        assert told()["type"] == "job.succeeded"
        left = running.descendants()
        assert running.stop() == 0
        assert alive(left) == []
    assert secret not in running.log.read_text()


def test_without_hosts_there_is_no_dispatcher(service: Running) -> None:
    assert not [p for p in service.descendants() if "webhooks" in p.cmdline()]
