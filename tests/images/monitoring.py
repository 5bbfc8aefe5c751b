"""A real Prometheus with deploy/prometheus, which reads the API with a key of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from tests.images.compose import Prepared
from tests.images.container import until

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:9090"
DASHBOARD = ROOT / "deploy/grafana/dashboards/distilq.json"


def check_monitoring(
    prepared: Prepared, stack: ExitStack, token: str, said: Callable[[str], None]
) -> None:
    _start(prepared, stack, token)
    until("Prometheus reads the API", lambda: _values('up{job="distilq"}') == ["1"])
    queries = [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    # A rate is one of two samples, and those are 15 s apart.
    until("every query of the dashboard has an answer", lambda: all(map(_values, queries)))
    said(f"Prometheus reads the API with its key; each of {len(queries)} queries has an answer")


def _start(prepared: Prepared, stack: ExitStack, token: str) -> None:
    folder = prepared.folder / "prometheus"
    shutil.copytree(ROOT / "deploy/prometheus", folder)
    (prepared.secrets / "prometheus-api-key").write_text(token + "\n")
    config = folder / "prometheus.yml"
    here = config.read_text().replace("/run/secrets/", f"{prepared.secrets}/")
    config.write_text(here.replace("api:8000", "127.0.0.1:8000"))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
    with (prepared.folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={ADDRESS}"], stdout=log, stderr=log
        )
    stack.callback(process.wait)
    stack.callback(process.terminate)


def _values(query: str) -> list[str]:
    try:
        answer = httpx.get(
            f"http://{ADDRESS}/api/v1/query", params={"query": query}, trust_env=False
        )
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
    except httpx.HTTPError:  # it is not there yet
        return []
    return [each["value"][1] for each in found]
