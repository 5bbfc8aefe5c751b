"""A real Prometheus scrapes a real API whose jobs nobody works at: the alert fires."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from api.app import create_app
from distilq.cli.ports import free_port
from distilq.jobs import JobRequest
from distilq.settings import Settings
from distilq.store import JobStore

RULES = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: distilq
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture
def api_port(store: JobStore) -> Iterator[int]:
    app = create_app(Settings(auth="off", model=store.model), store)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def prometheus(api_port: int, tmp_path: Path) -> Iterator[str]:
    """Its address; its rules do not wait for as long as they do in earnest."""
    binary = shutil.which("prometheus")
    if binary is None:
        if "CI" in os.environ:
            pytest.fail("prometheus is missing: see .ci/packages")
        pytest.skip("there is no Prometheus on this machine")
    (tmp_path / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", RULES.read_text()))
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=api_port))
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(binary, f"--config.file={tmp_path}/prometheus.yml", f"--web.listen-address={address}"),
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        yield f"http://{address}"
        process.kill()
    print((tmp_path / "log").read_text())  # shown with a failed test


def alerts(address: str) -> dict[str, Any]:
    try:
        found = httpx.get(f"{address}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    except (httpx.HTTPError, ValueError):  # not there yet, or not ready
        return {}
    return {each["labels"]["alertname"]: each["state"] for each in found}


def test_jobs_that_nobody_works_at_are_told_of(prometheus: str, store: JobStore) -> None:
    store.submit(JobRequest(inputs="a"))
    deadline = time.monotonic() + 60
    while alerts(prometheus).get("DistilqNoWorker") != "firing":
        assert time.monotonic() < deadline, alerts(prometheus)
        time.sleep(0.2)
    assert "DistilqNotScraped" not in alerts(prometheus)
