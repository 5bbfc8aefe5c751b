"""A short run of every fault there is; `make chaos` has the long one."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.chaos.run import Plan, run
from tests.chaos.schedule import each_once

#: Seconds in which the faults come; what they leave takes as long again.
FAULTS_S = 45


@pytest.mark.timeout(900)
def test_whatever_dies_every_accepted_job_gets_one_final_state(
    redis_server_binary: Path, tmp_path: Path
) -> None:
    plan = Plan(seed=20_240_229, steps=each_once(20_240_229, FAULTS_S), rate=30)
    report = run(plan, tmp_path, redis_server_binary)
    gc.collect()  # while the warnings are ignored
    assert report.verdict.accepted > 300
    assert report.verdict.clean, report.verdict.as_dict()
