"""The service in the containers, as its clients see it."""

from __future__ import annotations

from typing import Any

import httpx

URL = "http://127.0.0.1:8000"


def client_of(token: str) -> httpx.Client:
    return httpx.Client(
        base_url=URL, headers={"Authorization": f"Bearer {token}"}, timeout=90, trust_env=False
    )


def status(path: str) -> int:
    try:
        return httpx.get(URL + path, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def submit(client: httpx.Client, number: int, tokens: int) -> list[str]:
    asked = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    jobs = [
        {"inputs": f"Once, {each}", "parameters": asked, "timeout_s": 600} for each in range(number)
    ]
    answer = client.post("/v1/jobs:batch", json={"jobs": jobs}).raise_for_status()
    return [job["id"] for job in answer.json()["jobs"]]


def jobs(client: httpx.Client, ids: list[str]) -> list[dict[str, Any]]:
    answer = client.post("/v1/jobs:status", json={"ids": ids}).raise_for_status()
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


def unfinished(client: httpx.Client, ids: list[str]) -> list[str]:
    return [job["id"] for job in jobs(client, ids) if job["status"] in ("queued", "running")]


def all_busy(client: httpx.Client) -> bool:
    return all(worker["rows"] for worker in client.get("/v1/workers").json()["workers"])
