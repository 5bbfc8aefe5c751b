"""The log of everything, for machines: one job is followed through it."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.running import Running

pytestmark = pytest.mark.timeout(400)  # see test_up.py


def test_a_job_is_followed_from_its_request_to_its_end(start: Callable[..., Running]) -> None:
    running = start(DISTILQ_LOG_FORMAT="json", DISTILQ_LOG_LEVEL="info")
    secret = "A prompt of which nothing may be in any log"
    sent = {"X-Request-Id": "order-42", "Prefer": "wait=60"}
    with httpx.Client(base_url=running.url, timeout=90, trust_env=False) as http:
        job = http.post("/v1/jobs", json={"inputs": secret}, headers=sent).json()
    assert job["status"] == "succeeded"
    assert running.stop() == 0
    text = running.log.read_text()
    assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]  # every one is an object
    mine = [line for line in lines if line.get("request_id") == "order-42"]
    told = {(line["logger"], line.get("status")) for line in mine if line["job_id"] == job["id"]}
    assert told == {
        ("distilq.api", 200),
        ("distilq.pool", None),
        ("distilq.pool", "succeeded"),
    }
