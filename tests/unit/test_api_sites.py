"""What a page of another site, open in somebody's browser, can do to a service without keys."""

from __future__ import annotations

from typing import Any

import pytest

from distilq.access import ApiKey
from distilq.jobs import JobRequest, JobStatus
from distilq.testing import MemoryRing, MemoryStore
from tests.unit.api_client import make_client

OTHERS = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://other.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "null"},
    {"Origin": "http://[::1"},
]
OWN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://LOCALHOST"},
    {},
]


@pytest.mark.parametrize("sent", OTHERS)
@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/jobs/{}/cancel", "type"), ("/v1/batches/{}/cancel", "error")]
)
def test_another_site_changes_nothing(sent: dict[str, str], path: str, kind: str) -> None:
    store = MemoryStore()
    job = store.submit(JobRequest(inputs="a"))
    response = make_client(store).post(path.format(job.id), headers=sent)
    assert (response.status_code, "cross_site" in str(response.get_json()[kind])) == (403, True)
    assert store.get(job.id).status is JobStatus.QUEUED


@pytest.mark.parametrize("sent", OWN)
def test_own_pages_and_programs_may(sent: dict[str, str]) -> None:
    store = MemoryStore()
    job = store.submit(JobRequest(inputs="a"))
    path = f"/v1/jobs/{job.id}/cancel"
    assert make_client(store).post(path, headers=sent).status_code == 200


def test_reading_is_left_to_the_browser_to_forbid() -> None:
    assert make_client(MemoryStore()).get("/v1/queue", headers=OTHERS[0]).status_code == 200


def test_a_key_is_proof_enough() -> None:
    """Also of a page elsewhere: whoever gave it the key wants it to be used."""
    store, ring = MemoryStore(), MemoryRing()
    token = ring.create(ApiKey(name="a"))
    sent: Any = {**OTHERS[0], "Authorization": f"Bearer {token}"}
    client = make_client(store, ring)
    assert client.post("/v1/jobs", json={"inputs": "a"}, headers=sent).status_code == 202
    assert client.post("/v1/jobs", json={"inputs": "a"}, headers=OTHERS[0]).status_code == 401
