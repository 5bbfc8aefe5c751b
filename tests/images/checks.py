"""What is looked at, in the files of the images and in their containers."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from deploy import secrets
from distilq.cli.redis_server import answers
from tests.images.compose import CHOSEN, Compose, Prepared
from tests.images.container import Container, until
from tests.images.monitoring import check_monitoring
from tests.images.service import URL, all_busy, client_of, jobs, status, submit, unfinished
from tests.unit.api_client import CARD_REQUEST

#: Most bytes of packages that the API may have.
API_PACKAGES = 250 * 10**6
REDIS_PORT = 6379


def check_files(prepared: Prepared) -> None:
    sizes = {name: _bytes(getattr(prepared, name).packages) for name in ("api", "worker")}
    for name, size in sizes.items():
        said(f"{name}: {size / 10**6:.0f} MB of packages")
    assert sizes["api"] < API_PACKAGES
    for image in (prepared.api, prepared.worker):
        assert (image.packages / "distilq/worker/models/bundled/model.safetensors").exists()
        assert not list(image.packages.glob("pip*")), "pip is left there"
        for gone in ("root/.cache", "build", "wheels", "usr/bin/gcc", "usr/bin/cc"):
            assert not Path(image.root, gone).exists(), gone
    assert not (prepared.api.packages / "torch").exists()
    said("neither has a cache, a compiler or a pip; the API has no torch")


def check_running(prepared: Prepared) -> None:
    secrets.write(prepared.secrets, ["/model"], f"127.0.0.1:{REDIS_PORT}")
    compose = Compose(prepared)
    with ExitStack() as stack:
        _start_redis(stack, compose, prepared)

        def start(name: str, host: str) -> Container:
            container = compose.container(name, host).start()
            stack.callback(container.kill)
            return container

        api = start("api", "api-1")
        until("the API answers", lambda: status("/livez") == 200)
        check_confined(api)
        check_without_torch(api)
        token = compose.container("admin", "admin", ["distilq", "keys", "create", "me"]).run()
        client = stack.enter_context(client_of(token.strip()))
        worker = start("worker", "worker-1")
        check_healthchecks(api, worker)
        check_confined(worker)
        check_models(worker)
        check_card(client)
        check_killed_worker(client, worker, start)
        check_monitoring(prepared, stack, token.strip(), said)
        check_stops(client, api, start)
    said("all of it holds")


def _start_redis(stack: ExitStack, compose: Compose, prepared: Prepared) -> None:
    with (prepared.folder / "redis.log").open("wb") as log:
        redis = subprocess.Popen(compose.redis(REDIS_PORT), stdout=log, stderr=log)
    stack.callback(redis.wait)
    stack.callback(redis.terminate)
    admin = (prepared.secrets / "admin-redis-url").read_text().strip()
    until("Redis answers", answers(admin))
    port = ["redis-cli", "-p", str(REDIS_PORT)]
    asked = [
        subprocess.run([*port, word], capture_output=True, text=True) for word in ("ping", "info")
    ]
    assert asked[0].stdout == "PONG\n"
    assert asked[1].stdout.startswith("NOPERM")
    said("Redis tells a stranger that it is there, and nothing else")


def check_confined(container: Container) -> None:
    granted = Path(f"/proc/{container.pid}/status").read_text().replace("\t", " ")
    for line in ("CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"):
        assert line in granted, line
    uid = container.image.user.split(":")[0]
    assert f"Uid: {uid} {uid} {uid} {uid}" in granted
    written = container.inside("touch", "/opt/distilq/x")
    assert "Read-only file system" in written.stderr
    said(f"{container.host} runs as {uid}, without rights, on a read-only file system")


def check_without_torch(api: Container) -> None:
    imported = api.inside("python", "-c", "import torch")
    assert imported.returncode == 1
    assert "No module named 'torch'" in imported.stderr
    said("import torch fails in the API's image")


def check_healthchecks(api: Container, worker: Container) -> None:
    assert status("/readyz") == 503
    assert not worker.healthy(), "before its model is loaded"
    until("a worker is ready", lambda: status("/readyz") == 200)
    for container in (api, worker):
        until(f"{container.host} is healthy", container.healthy)
    said("the healthchecks pass, the worker's once its model is loaded")


def check_models(worker: Container) -> None:
    for name in (CHOSEN["DISTILQ_MODEL"], "bundled"):
        command = ["env", f"DISTILQ_MODEL={name}", "python", "-m", "distilq.worker.preflight"]
        found = worker.inside(*command)
        assert found.returncode == 0, found.stderr
    said("the worker's image has the bundled model, and the one that was baked in")


def check_card(client: httpx.Client) -> None:
    assert httpx.post(f"{URL}/score", json=CARD_REQUEST).status_code == 401
    answer = client.post("/score", json=CARD_REQUEST).raise_for_status().json()
    asked: Any = CARD_REQUEST
    prompts = asked["inputs"]["input_string"]
    assert len(answer) == len(prompts)
    for texts, prompt in zip(answer, prompts, strict=True):
        assert len(texts) == asked["parameters"]["num_return_sequences"]
        assert all(text["generated_text"].startswith(prompt) for text in texts)
    said("the model card's request is answered, with a key")


def check_killed_worker(
    client: httpx.Client, worker: Container, start: Callable[[str, str], Container]
) -> None:
    ids = submit(client, 60, 200)
    until("jobs run", lambda: client.get("/v1/queue").json()["running"] > 0)
    worker.kill()
    start("worker", "worker-2")
    until("every job has ended", lambda: not unfinished(client, ids))
    found = jobs(client, ids)
    assert Counter(job["status"] for job in found) == {"succeeded": len(ids)}
    again = sum(job["attempt"] > 1 for job in found)
    assert again, "the worker was killed too late"
    said(f"a killed worker lost none of {len(ids)} jobs; {again} ran again")


def check_stops(
    client: httpx.Client, api: Container, start: Callable[[str, str], Container]
) -> None:
    """Without `init`: each is the first process of its container."""
    second = start("worker", "worker-3")
    until(
        "the second worker is there", lambda: len(client.get("/v1/workers").json()["workers"]) == 2
    )
    ids = submit(client, 400, 40)
    until("both work", lambda: all_busy(client))
    before = _ended_by(second)
    second.send(signal.Signals[second.image.stop_signal])
    assert second.ended() == 0
    drained = _ended_by(second) - before
    assert drained, "it finished nothing of what it had"
    until("every job has ended", lambda: not unfinished(client, ids))
    ended = Counter((job["status"], job["attempt"]) for job in jobs(client, ids))
    assert ended == {("succeeded", 1): len(ids)}
    api.send(signal.Signals[api.image.stop_signal])
    assert api.ended() == 0
    said(f"SIGTERM: a worker finished {drained} jobs and ended; of {len(ids)} none ran twice")


def said(words: str) -> None:
    print(f"ok  {words}", flush=True)


def _ended_by(worker: Container) -> int:
    return worker.log.read_text().count(" has succeeded")


def _bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))
