"""Every example of the API reference is answered as the document says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.openapi import document
from api.pages import VERSION
from docs.building.curl import URL, command
from tests.e2e.running import Running, clean_environment

pytestmark = pytest.mark.timeout(400)  # see test_up.py

OPERATIONS = [
    pytest.param(method, path, id=item[method]["operationId"])
    for path, item in document()["paths"].items()
    for method in item
    if method != "parameters" and path != "/v1/stats/events"  # which never ends: see below
]
#: What the examples' jobs and this service do not have: a webhook, anything on the dead list.
NOT_THERE = {
    "/v1/jobs/{job_id}/redeliver": "409",
    "/v1/dead/{entry_id}": "404",
    "/v1/dead/{entry_id}:requeue": "404",
}
LINE = '{"custom_id": "a", "method": "POST", "url": "/v1/jobs", "body": {"inputs": "The sea"}}\n'
CANCEL = "/v1/jobs/{job_id}/cancel"
FILE_OF_EXAMPLE = "file-0123456789abcdef0123456789abcdef"


def job(http: httpx.Client) -> str:
    """One that has ended, and has told its tokens."""
    body = {"inputs": "The sea", "stream": True, "parameters": {"max_new_tokens": 3}}
    made = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}).json()
    assert made["status"] == "succeeded"
    return str(made["id"])


def waiting(http: httpx.Client) -> str:
    """One that is not done, as long as its priority is paused."""
    return str(http.post("/v1/jobs", json={"inputs": "The sea", "priority": "bulk"}).json()["id"])


def file(http: httpx.Client) -> str:
    made = http.post("/v1/files", data={"purpose": "batch"}, files={"file": LINE.encode()})
    return str(made.json()["id"])


def batch(http: httpx.Client) -> str:
    """One that is not done, as above."""
    body = {"input_file_id": file(http), "endpoint": "/v1/jobs", "completion_window": "1h"}
    return str(http.post("/v1/batches", json=body).json()["id"])


MADE: dict[str, Callable[[httpx.Client], str]] = {
    "JOB_ID": job,
    "FILE_ID": file,
    "BATCH_ID": batch,
    "ENTRY_ID": lambda http: "0" * 32,
    "WORKER_ID": lambda http: str(http.get("/v1/workers").json()["workers"][0]["id"]),
    "MODEL": lambda http: str(http.get("/v1/models").json()["data"][0]["id"]),
    "VERSION": lambda http: VERSION,
    "FOLDER": lambda http: "dashboard",
    "NAME": lambda http: "main.js",  # there is one in either folder
}


@pytest.fixture
def paused(http: httpx.Client) -> Iterator[None]:
    """Bulk jobs wait meanwhile; then everybody is at work again."""
    http.post("/v1/queue:pause", json={"priority": "bulk"})
    yield
    http.post("/v1/queue:resume", json={})
    for worker in http.get("/v1/workers").json()["workers"]:
        http.post(f"/v1/workers/{worker['id']}:resume").raise_for_status()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_example_works(
    service: Running,
    http: httpx.Client,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    method: str,
    path: str,
) -> None:
    operation = document()["paths"][path][method]
    script = command(method, path, operation).replace(URL, service.url)
    script = script.replace('"distilgpt2"', '"bundled"')
    if path.startswith(("/v1/batches/", "/v1/queue:", "/v1/workers/")) or path == CANCEL:
        request.getfixturevalue("paused")
    needed = {name: make(http) for name, make in MADE.items() if f"${{{name}}}" in script}
    if path == CANCEL:
        needed["JOB_ID"] = waiting(http)
    if FILE_OF_EXAMPLE in script:
        script = script.replace(FILE_OF_EXAMPLE, file(http))
    (tmp_path / "requests.jsonl").write_text(LINE)
    (tmp_path / ".curlrc").write_text('write-out = "\\n%{http_code}"\nmax-time = 60\n')
    said = run(script, tmp_path, needed)
    assert said.returncode == 0, said.stderr
    status = said.stdout.rpartition(b"\n")[2].decode()
    assert status in operation["responses"], said.stdout
    assert status.startswith(NOT_THERE.get(path, "2")), said.stdout


def test_the_example_of_what_never_ends_works(service: Running, tmp_path: Path) -> None:
    path = "/v1/stats/events"
    script = command("get", path, document()["paths"][path]["get"]).replace(URL, service.url)
    assert run(f"{script} | head -n 1", tmp_path, {}).stdout == b"event: history\n"


def run(script: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-eu"],  # noqa: S607 (a user's shell)
        input=script.encode(),
        cwd=folder,
        env=clean_environment(folder) | variables,
        capture_output=True,
    )
