"""Redis behind TLS: `rediss://` for API and worker alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from distilq.connection import connect
from distilq.jobs import JobRequest, JobStatus
from distilq.settings import Settings
from distilq.store import JobStore

PROXY = Path(__file__).with_name("tls_proxy.py")
ROOT = Path(__file__).parents[2]
MODEL = "simulated:step_ms=5"


@pytest.fixture
def tls_url(redis_client: Any, redis_url: str, certificate: Path) -> Iterator[str]:
    command = [sys.executable, str(PROXY), str(certificate), str(urlsplit(redis_url).port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as proxy:
        assert proxy.stdout is not None
        port = proxy.stdout.readline().strip()
        options = f"ssl_cert_reqs=required&ssl_ca_certs={certificate}"
        yield f"rediss://localhost:{port}/0?{options}"
        proxy.kill()


@pytest.fixture
def worker(tls_url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {"DISTILQ_REDIS_URL": tls_url, "DISTILQ_MODEL": MODEL}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", "w@%h"]
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=out, stderr=out)
    yield process
    process.kill()
    process.wait()
    print(log.read_text()[-20_000:])  # shown with a failed test


def test_a_job_is_served_over_tls(tls_url: str, worker: subprocess.Popen[bytes]) -> None:
    store = JobStore(connect(tls_url), Settings(redis_url=tls_url, model=MODEL))
    request = JobRequest.model_validate({"inputs": "a", "parameters": {"max_new_tokens": 5}})
    assert store.wait(store.submit(request).id, 40).status is JobStatus.SUCCEEDED
    assert worker.poll() is None
    store.close()
    store.redis.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_url: str, settings: Callable[..., Settings]
) -> None:
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        connect(tls_url.partition("?")[0]).ping()
