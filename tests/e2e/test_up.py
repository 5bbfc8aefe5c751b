"""`distilq up` as a user meets it: one command, the card's sample, load, deaths, Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import PreTrainedTokenizerFast

from distilq.cli.ports import free_port
from tests.e2e.running import (
    CARD_SAMPLE,
    Running,
    alive,
    clean_environment,
    until,
    up_command,
)

# A start under load may take longer than the timeout of other tests.
pytestmark = pytest.mark.timeout(400)

BUNDLED = Path(__file__).parents[2] / "worker" / "models" / "bundled"
PROMPTS = ["Once upon a time,", "My name is John and I am", "The old house", "It was", "She said"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(BUNDLED)  # type: ignore[no-any-return]


def mixed_job(number: int) -> dict[str, Any]:
    """Prompts, lengths and seeds of all sorts, the same for the same number."""
    parameters = {"max_new_tokens": 1 + 7 * number % 60, "seed": number}
    return {"inputs": PROMPTS[number % len(PROMPTS)], "parameters": parameters}


def submit(http: httpx.Client, body: dict[str, Any]) -> str:
    return str(http.post("/v1/jobs", json=body).raise_for_status().json()["id"])


def finished(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job once it is final, by long polls."""
    for _ in range(20):
        job: dict[str, Any] = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=20"}).json()
        if job["status"] not in ("queued", "running", "canceling"):
            return job
    raise AssertionError(f"still {job['status']}")


def texts(job: dict[str, Any]) -> list[list[str]]:
    assert job["status"] == "succeeded", job
    return [[sequence["generated_text"] for sequence in texts] for texts in job["result"]]


def test_the_cards_sample_comes_back_as_two_lists_of_two_texts(
    http: httpx.Client, tokenizer: PreTrainedTokenizerFast
) -> None:
    answer = http.post("/score", json=CARD_SAMPLE).raise_for_status().json()

    assert [len(texts) for texts in answer] == [2, 2]
    for prompt, texts in zip(CARD_SAMPLE["inputs"]["input_string"], answer, strict=True):
        for text in texts:
            assert list(text) == ["generated_text"]
            assert text["generated_text"].startswith(prompt)
            # Tokens that were drawn one by one may be written in fewer or more than they were.
            assert 19 <= len(tokenizer.encode(text["generated_text"])) <= 31


def test_the_cards_sample_has_as_many_tokens_as_it_asks_for(
    http: httpx.Client, tokenizer: PreTrainedTokenizerFast
) -> None:
    result = finished(http, submit(http, CARD_SAMPLE))["result"]
    for prompt, texts in zip(CARD_SAMPLE["inputs"]["input_string"], result, strict=True):
        for text in texts:
            assert 20 <= len(tokenizer.encode(prompt)) + text["generated_tokens"] <= 30


def test_a_job_is_submitted_and_polled(http: httpx.Client) -> None:
    job_id = submit(http, {"inputs": "Once upon a time,"})

    job = finished(http, job_id)
    ((text,),) = texts(job)
    assert text.startswith("Once upon a time,")
    assert http.get(f"/v1/jobs/{job_id}/result").json() == [[{"generated_text": text}]]


def test_two_hundred_jobs_from_twenty_threads_are_batched_and_change_no_text(
    http: httpx.Client,
) -> None:
    before = steps(http)
    with ThreadPoolExecutor(20) as threads:
        ids = list(threads.map(lambda n: submit(http, mixed_job(n)), range(200)))
        jobs = list(threads.map(lambda job_id: finished(http, job_id), ids))
    together = [texts(job) for job in jobs]
    after = steps(http)

    assert len(set(ids)) == 200
    assert (after[1] - before[1]) / (after[0] - before[0]) > 3
    sample = range(0, 200, 7)
    alone = {n: texts(finished(http, submit(http, mixed_job(n)))) for n in sample}
    assert alone == {n: together[n] for n in sample}


def steps(http: httpx.Client) -> tuple[int, int]:
    """Steps and rows that the worker has decoded since its start, by a heartbeat from now on."""
    asked = datetime.now(timezone.utc)

    def worker() -> dict[str, Any]:
        (one,) = http.get("/v1/workers").raise_for_status().json()["workers"]
        return dict(one)

    until(lambda: datetime.fromisoformat(worker()["seen_at"].replace("Z", "+00:00")) > asked)
    return worker()["steps"], worker()["row_steps"]


def test_a_killed_worker_comes_back_and_finishes_what_it_left(
    service: Running, http: httpx.Client
) -> None:
    job_id = submit(http, {"inputs": "It was", "parameters": {"max_new_tokens": 900, "seed": 1}})
    until(lambda: http.get(f"/v1/jobs/{job_id}").json()["status"] == "running")
    worker = service.descendant("celery", "worker")
    worker.kill()

    until(lambda: not alive([worker]))
    job = finished(http, job_id)
    assert job["status"] == "succeeded"
    assert job["attempt"] == 2
    assert "worker-1 | was ended by SIGKILL; starting it again" in service.log.read_text()


def test_a_killed_api_comes_back(service: Running) -> None:
    api = service.descendant("gunicorn")
    api.kill()

    until(lambda: "api      | was ended by SIGKILL; starting it again" in service.log.read_text())
    service.wait_until_ready()
    with httpx.Client(base_url=service.url, timeout=90) as another:
        assert another.get("/readyz").is_success


def test_ctrl_c_finishes_the_running_job_and_leaves_no_process(
    start: Callable[..., Running],
) -> None:
    first = start()
    with httpx.Client(base_url=first.url) as http:
        job_id = submit(http, {"inputs": "It was", "parameters": {"max_new_tokens": 400}})
        until(lambda: http.get(f"/v1/jobs/{job_id}").json()["status"] != "queued")
    family = first.descendants()
    names = " ".join(" ".join(process.cmdline()) for process in family)
    assert all(name in names for name in ("redis-server", "gunicorn", "celery"))

    assert first.stop(signal.SIGINT) == 0
    assert alive(family) == []

    second = start()
    with httpx.Client(base_url=second.url) as http:
        job = http.get(f"/v1/jobs/{job_id}").json()
        assert (job["status"], job["attempt"]) == ("succeeded", 1)

    family = second.descendants()
    second.process.kill()
    until(lambda: alive(family) == [])


def test_where_others_reach_it_a_key_is_needed_and_made_by_its_data_directory(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start("--host", "0.0.0.0")
    assert "keys       required; make one: distilq keys create NAME --data-dir" in (
        running.log.read_text()
    )
    assert httpx.get(f"{running.url}/v1/info").status_code == 401
    command = [sys.executable, "-m", "distilq.cli", "keys", "create", "Anna"]
    environment = clean_environment(tmp_path)
    made = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")], env=environment, capture_output=True
    )
    assert made.returncode == 0, made.stderr
    sent = {"Authorization": f"Bearer {made.stdout.decode().strip()}"}
    answer = httpx.post(f"{running.url}/score", json=CARD_SAMPLE, headers=sent, timeout=90)
    assert answer.raise_for_status().json()
    assert made.stdout.decode().strip() not in running.log.read_text()
    assert running.stop() == 0
    assert not (tmp_path / "data" / "redis-url").exists()


def refusal(folder: Path, *options: str) -> str:
    """What `distilq up` says when it does not start; its standard error is one line."""
    command = up_command("--model", "bundled", "--data-dir", str(folder / "data"), *options)
    said = subprocess.run(
        command, cwd=folder, env=clean_environment(folder), capture_output=True, text=True
    )
    assert said.returncode == 1, said
    (line,) = said.stderr.splitlines()
    return line


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(tmp_path, "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: it is taken" in line


def test_a_folder_without_a_model_is_one_line(tmp_path: Path, redis_server_binary: Path) -> None:
    (tmp_path / "nothing").mkdir()
    line = refusal(tmp_path, "--model", str(tmp_path / "nothing"), "--port", str(free_port()))
    assert str(tmp_path / "nothing") in line


@pytest.mark.parametrize(
    ("file", "words"),
    [("model.safetensors", "the model at"), ("tokenizer.json", "the tokenizer at")],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, redis_server_binary: Path, file: str, words: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(BUNDLED, folder)
    (folder / file).write_bytes((BUNDLED / file).read_bytes()[:100_000])
    line = refusal(tmp_path, "--model", str(folder), "--port", str(free_port()))
    assert words in line
    assert "cannot be loaded" in line


def test_a_dead_redis_is_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    line = refusal(tmp_path, "--port", port, "--redis-url", "redis://:secret@127.0.0.1:1/0")
    assert "the Redis at redis://:***@127.0.0.1:1/0 does not answer" in line


def test_one_data_directory_serves_one_at_a_time(service: Running, tmp_path: Path) -> None:
    data = service.log.parent / "data"
    line = refusal(tmp_path, "--port", str(free_port()), "--data-dir", str(data))
    assert f"data directory {data} is in use" in line
