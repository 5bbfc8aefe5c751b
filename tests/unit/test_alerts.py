"""The alert rules: promtool runs their own tests, and every metric in them is one of ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
RULES = (FOLDER / "alerts.yml").read_text()


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if "CI" in os.environ:
            pytest.fail("promtool is missing: see .ci/packages")
        pytest.skip("there is no promtool on this machine")
    return found


@pytest.mark.parametrize(
    "command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_promtool_finds_nothing_wrong(promtool: str, command: tuple[str, ...]) -> None:
    said = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_seen_to_fire_in_a_test() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES)
    tests = (FOLDER / "alerts_test.yml").read_text()
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tests)
    assert sorted(alerts) == sorted(set(fired))


def test_every_metric_in_them_is_one_of_ours() -> None:
    store = MemoryStore()
    store.alive = [FAKE_WORKER]
    given = make_client(store).get("/metrics").text
    names = set(re.findall(r"distilq_\w+", "\n".join(re.findall(r"expr: .*(?:\n {10}.*)*", RULES))))
    assert len(names) > 5
    for name in names:
        assert f"\n{name}" in given, name
