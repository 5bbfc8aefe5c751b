"""Prometheus' configuration and Grafana's dashboard: each query is one, of metrics of ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilq.histograms import BOUNDS, Histogram
from distilq.store import Observed
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client
from tests.unit.test_alerts import promtool as promtool  # a fixture

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANA = DEPLOY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/distilq.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]


def provisioned(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    return read


class Busy(MemoryStore):
    """One with a worker, which has observed something of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = [FAKE_WORKER]

    def observed(self) -> Observed:
        per_job = ("queue_time", "time_to_first_token", "end_to_end")
        seen = [
            Histogram(name, "bulk" if name in per_job else "", (1,) * (len(bounds) + 1), 1.0)
            for name, bounds in BOUNDS.items()
        ]
        return replace(super().observed(), histograms=seen)


@pytest.fixture(scope="module")
def metrics() -> str:
    return make_client(Busy()).get("/metrics").text


def test_promtool_takes_the_configuration(promtool: str, tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path, dirs_exist_ok=True)
    (tmp_path / "key").touch()  # promtool looks whether it is there
    config = tmp_path / "prometheus.yml"
    config.write_text(config.read_text().replace("/run/secrets/prometheus-api-key", "key"))
    command = [promtool, "check", "config", config.name]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 rule files found" in said.stdout


def test_promtool_can_read_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(QUERIES)} rules found" in said.stdout


def test_every_metric_and_label_of_the_dashboard_is_one_of_ours(metrics: str) -> None:
    for query in QUERIES:
        names = re.findall(r"distilq_\w+", query)
        assert names, query
        for name in names:
            assert re.search(rf"^{name}[ {{]", metrics, re.M), name
        for label in re.findall(r"by \((\w+)(?:, (\w+))?\)", query):
            for each in filter(None, label):
                assert f'{each}="' in metrics, query


def test_legends_name_labels_of_their_metrics(metrics: str) -> None:
    for panel in PANELS:
        for target in panel.get("targets", []):
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                [metric, *_] = re.findall(r"distilq_\w+", target["expr"])
                assert re.search(rf'^{metric}{{[^}}]*\b{label}="', metrics, re.M), target


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        cells = set(_cells(panel["gridPos"]))
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_panels_ask_the_datasource_that_is_provisioned_at_the_prometheus_of_compose() -> None:
    [source] = provisioned("datasources/prometheus.yml")["datasources"]
    for panel in PANELS:
        for asked in [panel, *panel.get("targets", [])]:
            assert asked.get("datasource", {}).get("uid", source["uid"]) == source["uid"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]


def test_dashboards_are_looked_for_where_compose_mounts_them() -> None:
    [provider] = provisioned("dashboards/distilq.yml")["providers"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    mounted = compose["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounted


def _cells(at: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            yield x, y
