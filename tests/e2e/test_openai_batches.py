"""Files and batches by the `openai` package, unmodified, against a running service."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Batch

from tests.e2e.running import Running, clean_environment, until

pytestmark = pytest.mark.timeout(400)  # see test_up.py

ROOT = Path(__file__).parents[2]
MODEL = "bundled"
FINAL = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def client(service: Running) -> Iterator[OpenAI]:
    with client_of(service) as client:
        yield client


def client_of(running: Running) -> OpenAI:
    return OpenAI(base_url=f"{running.url}/v1", api_key="any", timeout=90, max_retries=5)


def line(number: int, **body: Any) -> str:
    known = {"model": MODEL, "prompt": f"Chapter {number}", "max_tokens": 4, "seed": number}
    asked = {"custom_id": f"c{number}", "method": "POST", "url": "/v1/completions"}
    return json.dumps({**asked, "body": known | body})


def begin(client: OpenAI, lines: list[str], **fields: Any) -> Batch:
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    known = {"endpoint": "/v1/completions", "completion_window": "24h"}
    return client.batches.create(input_file_id=file.id, **{**known, **fields})


def ended(client: OpenAI, batch: Batch) -> Batch:
    until(lambda: client.batches.retrieve(batch.id).status in FINAL, 200)
    return client.batches.retrieve(batch.id)


def rows(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [json.loads(row) for row in client.files.content(file_id or "").iter_lines()]


def test_a_batch_gives_what_each_request_alone_would(client: OpenAI) -> None:
    lines = [line(n) for n in range(20)] + [line(20, prompt="a " * 2_000), line(21, n=0), "{"]
    batch = ended(client, begin(client, lines, metadata={"note": "mine"}))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 23, "completed": 20, "failed": 3}
    found = rows(client, batch.output_file_id)
    assert [row["custom_id"] for row in found] == [f"c{n}" for n in range(20)]
    for number in (0, 7, 19):
        alone = client.completions.create(
            model=MODEL, prompt=f"Chapter {number}", max_tokens=4, seed=number
        )
        answered = found[number]["response"]["body"]
        assert answered["choices"] == json.loads(alone.model_dump_json())["choices"]
    too_long, out_of_range, no_json = rows(client, batch.error_file_id)
    assert too_long["response"]["status_code"] == 400
    assert too_long["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert (out_of_range["error"]["line"], out_of_range["custom_id"]) == (22, "c21")
    assert (no_json["error"]["line"], no_json["error"]["code"]) == (23, "malformed_json")


def test_results_come_while_it_runs(client: OpenAI, http: httpx.Client) -> None:
    batch = begin(client, [line(n, max_tokens=64) for n in range(600)])
    found: list[str] = []
    with http.stream("GET", f"/v1/batches/{batch.id}/results?follow=true") as response:
        for row in response.iter_lines():
            if not found:
                assert client.batches.retrieve(batch.id).status in ("validating", "in_progress")
            found += [json.loads(row)["custom_id"]] if row else []
    assert found == [f"c{n}" for n in range(600)]
    as_done = http.get(f"/v1/batches/{batch.id}/results?order=completion").text.splitlines()
    assert {json.loads(row)["custom_id"] for row in as_done} == set(found)


def test_what_is_answered_stays_when_it_is_canceled(client: OpenAI) -> None:
    batch = begin(client, [line(n, max_tokens=64) for n in range(1_200)])

    def some_are_done() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed > 0

    until(some_are_done, 120)
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    counts = batch.request_counts
    assert counts is not None
    assert 0 < counts.completed < 1_200
    assert counts.completed + counts.failed == counts.total == 1_200
    assert len(rows(client, batch.output_file_id)) == counts.completed
    assert len(rows(client, batch.error_file_id)) == counts.failed
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")


def test_a_batch_whose_api_is_killed_is_gone_on_with(start: Callable[..., Running]) -> None:
    running = start("--precision", "float32")
    with client_of(running) as client:
        batch = begin(client, [line(n) for n in range(300)])
        until(lambda: client.batches.retrieve(batch.id).status == "in_progress")
        for process in running.descendants():
            if "gunicorn" in " ".join(process.cmdline()):
                process.kill()
        until(lambda: is_ready(running), 60)
        batch = ended(client, batch)
        found = [row["custom_id"] for row in rows(client, batch.output_file_id)]
        assert found == [f"c{n}" for n in range(300)]
    running.stop()


def is_ready(running: Running) -> bool:
    try:
        return httpx.get(f"{running.url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def test_files_are_listed_and_deleted(client: OpenAI) -> None:
    file = client.files.create(file=b"{}", purpose="batch")
    assert file.id in [each.id for each in client.files.list(limit=1)]
    assert client.files.retrieve(file.id).bytes == 2
    assert client.files.content(file.id).read() == b"{}"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=b"{}", purpose="fine-tune")
    assert (refused.value.param, refused.value.code) == ("purpose", "not_offered")


def test_the_async_client(service: Running) -> None:
    async def run() -> list[str]:
        async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="any", timeout=90) as client:
            file = await client.files.create(file=line(1).encode(), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
            )
            end = time.monotonic() + 120
            while batch.status not in FINAL:
                assert time.monotonic() < end
                await asyncio.sleep(0.2)
                batch = await client.batches.retrieve(batch.id)
            assert batch.id in [each.id async for each in client.batches.list(limit=1)]
            text = (await client.files.content(batch.output_file_id or "")).text
            return [json.loads(row)["custom_id"] for row in text.splitlines()]

    assert asyncio.run(run()) == ["c1"]


def test_the_example_of_the_page(service: Running, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(f"{line(1)}\n{line(2)}\n{{\n")
    page = (ROOT / "docs/clients.md").read_text()
    section = page.split("## Files and batches\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    said = subprocess.run(
        [sys.executable, "-"],
        input=example.replace("http://127.0.0.1:8000", service.url),
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    for expected in ("completed", '"custom_id": "c1"', '"custom_id": "c2"', "malformed_json"):
        assert expected in said.stdout
