"""The last hour and the present, watched while a real worker works."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.running import until
from tests.e2e.sse import messages

pytestmark = pytest.mark.timeout(400)  # see test_up.py

JOB = {"inputs": "Once", "parameters": {"max_new_tokens": 30, "min_new_tokens": 30}}


def test_who_watches_sees_a_job_come_and_go(http: httpx.Client) -> None:
    before = http.get("/v1/stats").json()["latency"]["end_to_end"]["count"]
    with http.stream("GET", "/v1/stats/events") as response:
        told = messages(response)
        assert next(told).event == "history"
        first = next(told)
        assert first.event == "snapshot"
        assert http.post("/score", json=JOB).status_code == 200
        for message in told:
            [worker] = message.data["workers"]
            recent = [*zip(worker["recent_rows"], worker["recent_prefill"], strict=True)]
            if message.data["point"] and recent[-30:] == [(1, 0)] * 30:
                break
        assert message.data["point"]["workers"] == 1
        assert message.data["dead"] == 0, "with keys off everybody is an admin"
    until(lambda: http.get("/v1/stats").json()["latency"]["end_to_end"]["count"] > before)
    latency = http.get("/v1/stats").json()["latency"]
    assert 0 < latency["time_between_tokens"]["p50"] <= latency["time_between_tokens"]["p99"]
