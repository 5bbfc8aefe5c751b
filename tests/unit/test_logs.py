"""Logs as machines read them, and the request's id in the API's."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from logging.config import dictConfig
from typing import Any

import pytest

from distilq import logs
from distilq.settings import Settings
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client

SECRET = "what nobody may read"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("distilq")
    known = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], level, ours.level = known[0], known[1], known[2]
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_an_object_with_all_that_belongs_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dictConfig(logs.config(Settings(log_format="json")))
    log = logging.getLogger("distilq.pool")
    log.warning("job %s\nhas ended", "a", extra={"job_id": "a", "request_id": "b"})
    try:
        raise ValueError("so")
    except ValueError:
        log.exception("it failed")
    log.info("not at this level")
    first, second = lines(capsys)
    assert first.pop("timestamp")
    assert first == {
        "level": "WARNING",
        "logger": "distilq.pool",
        "message": "job a\nhas ended",
        "job_id": "a",
        "request_id": "b",
    }
    assert "ValueError: so" in second["exc_info"]


def test_a_request_is_a_line_with_its_id_and_its_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    dictConfig(logs.config(Settings(log_format="json", log_level="info")))
    client = make_client(MemoryStore())
    sent = {"X-Request-Id": "mine"}
    job_id = client.post("/v1/jobs", json={"inputs": SECRET}, headers=sent).get_json()["id"]
    client.get(f"/v1/jobs/{job_id}", headers=sent)
    client.get("/nowhere", headers=sent)
    found = lines(capsys)
    facts = [(each["method"], each["route"], each["status"], each.get("job_id")) for each in found]
    assert facts == [
        ("POST", "/v1/jobs", 202, job_id),
        ("GET", "/v1/jobs/<job_id>", 200, job_id),
        ("GET", "none", 404, None),
    ]
    assert {each["request_id"] for each in found} == {"mine"}
    assert all(each["duration_ms"] >= 0 for each in found)
    assert SECRET not in json.dumps(found)


def test_lines_for_people_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    dictConfig(logs.config(Settings()))
    logging.getLogger("distilq.api").warning("so")
    assert capsys.readouterr().out == "WARNING so\n"
