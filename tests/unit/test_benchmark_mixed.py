"""Mixed traffic's own logic: what arrives, what rates and percentiles are, what the tables say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import mixed, mixed_report
from benchmarks.mixed_gaps import Gaps, beside_long_prompts, under_load
from benchmarks.mixed_subjects import _served_by_celery, play
from benchmarks.mixed_traffic import (
    NEW_TOKENS,
    PROMPT_TOKENS,
    Arrival,
    Ask,
    Served,
    all_at_once,
    percentile,
    poisson,
    tokens_per_s,
)
from distilq.settings import Settings
from worker.loading import load_engine


def test_poisson_arrivals_ask_for_the_load_within_their_time_and_the_same_ones_again() -> None:
    found = poisson(600, 5, 20, seed=3)
    asked = sum(arrival.ask.new_tokens for arrival in found)
    assert abs(asked - 600 * 20) <= NEW_TOKENS[1]
    moments = [arrival.at for arrival in found]
    assert moments == sorted(moments)
    assert 5 <= moments[0] <= moments[-1] < 25
    assert found == poisson(600, 5, 20, seed=3)
    assert found != poisson(600, 5, 20, seed=4)


def test_jobs_are_as_long_as_the_traffic_says() -> None:
    asks = [arrival.ask for arrival in all_at_once(2000, seed=1)]
    assert {len(ask.prompt) for ask in asks} == set(range(PROMPT_TOKENS[0], PROMPT_TOKENS[1] + 1))
    assert {ask.new_tokens for ask in asks} == set(range(NEW_TOKENS[0], NEW_TOKENS[1] + 1))


def test_a_rate_counts_the_part_of_a_job_that_is_within_the_window() -> None:
    before, across = Served(0, 0, 0, 10, 100), Served(0, 15, 15, 25, 40)
    assert tokens_per_s([before, across], 10, 20) == pytest.approx(20 / 10)
    assert tokens_per_s([before, across], 0, 25) == pytest.approx(140 / 25)


@pytest.mark.parametrize(
    ("share", "weights", "found"),
    [
        (0.5, (), 2.0),
        (0.99, (), 4.0),
        (0.25, (), 1.0),
        (0.5, (1, 1, 1, 7), 4.0),
        (0.9, (9, 1, 0, 0), 1.0),
    ],
)
def test_a_percentile_is_a_value_that_was_seen(
    share: float, weights: Sequence[float], found: float
) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share, weights) == found


class AtOnce:
    """Serves every job in a second from when it was due."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []

    def send(self, ask: Ask) -> str:
        self.asks.append(ask)
        return str(len(self.asks))

    def finished(self, job_ids: Sequence[str]) -> int:
        return len(job_ids)

    def served(self, due: Mapping[str, float]) -> list[Served]:
        return [
            Served(at, at, at + 0.25, at + 1, ask.new_tokens)
            for at, ask in zip(due.values(), self.asks[-len(due) :], strict=True)
        ]

    def capacity(self, served: Sequence[Served]) -> float:
        return 1000.0


def test_jobs_are_due_at_their_time_in_order() -> None:
    arrivals = [Arrival(at, Ask((1,), tokens)) for at, tokens in ((0.0, 5), (0.02, 6))]
    subject = AtOnce()
    start, served = play(subject, arrivals)
    assert [job.due - start for job in served] == pytest.approx([0.0, 0.02], abs=1e-6)
    assert [ask.new_tokens for ask in subject.asks] == [5, 6]


def test_a_round_looks_at_each_load_once_it_has_settled() -> None:
    plan = {"jobs": 3, "loads": (0.5, 1.0), "settle": 0.1, "seconds": 0.5}
    found = mixed.round_of(AtOnce(), plan, seed=1)
    for load, each in found["loads"].items():
        asked = float(load) * 1000 * 0.5
        assert abs(each["offered"] * 0.5 - asked) <= NEW_TOKENS[1]
        assert set(each["latency_s"]) == {1.0}
        assert set(each["first_token_s"]) == {0.25}
    windows = mixed.loads(1000, plan, seed=1)[1]
    assert windows == {0.5: (0.1, 0.6), 1.0: (pytest.approx(0.7), pytest.approx(1.2))}


def test_a_celery_result_is_there_all_at_once() -> None:
    meta = {"status": "SUCCESS", "date_done": "1970-01-01T00:00:09.500000"}
    result = {"result": {"began": 4.0, "tokens": [1, 2, 3]}}
    assert _served_by_celery(meta | result, 2.0) == Served(2.0, 4.0, 9.5, 9.5, 3)
    with pytest.raises(RuntimeError, match="a task is FAILURE: broken"):
        _served_by_celery({"status": "FAILURE", "result": "broken"}, 2.0)


def test_gaps_are_those_of_rows_that_were_running() -> None:
    settings = Settings(model="simulated:step_ms=1", max_rows=64, max_batch_tokens=65_536)
    engine = load_engine(settings)
    gaps = Gaps(engine)
    gaps.submit(Ask((1, 2, 3), 4))
    while engine.stats.generated_tokens < 4:
        gaps.step()
    assert gaps.taken()["steps"] == 3  # its first token is no gap
    with pytest.raises(RuntimeError, match="no row was running"):
        gaps.taken()
    under_load(gaps, engine, [Arrival(0.0, Ask((1, 2, 3), 1000))], 0.05)
    assert gaps.taken()["rows"] == 1
    gaps.clear()
    assert engine.stats.rows == engine.stats.waiting == 0
    found = beside_long_prompts(gaps, per_s=20, settle=0.1, seconds=0.3)
    assert 40 < found["rows"] <= 64
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["most_ms"]


def record() -> dict[str, Any]:
    def load(served: float) -> dict[str, Any]:
        return {
            "offered": 400.0,
            "served": served,
            "latency_s": [1.0, 2.0, 3.0],
            "first_token_s": [0.1, 0.2, 0.3],
        }

    gap = {"steps": 9, "rows": 8.0, "p50_ms": 20.0, "p99_ms": 50.0, "most_ms": 60.0}
    ours = [
        {"capacity": capacity, "seconds": 3.0, "loads": {"0.5": load(390.0)}}
        for capacity in (700.0, 900.0)
    ]
    batches = [{"capacity": 100.0, "seconds": 3.0, "loads": {}}]
    return {
        "machine": {"cpu": "a CPU", "cores": 4},
        "asked": {"precision": "float16", "rows": 64, "threads": 4},
        "found": {
            "rounds": {"ours": ours, "batches": batches},
            "absent": {"pipeline": "not installed: make peers"},
            "gaps": {"0.5": gap, "short": gap | {"p50_ms": 40.0}, "long": gap},
        },
    }


def test_the_tables_have_multiples_percentiles_and_who_is_absent() -> None:
    lines = mixed_report.tables(record()).splitlines()
    assert "| 50% | 400 | 390 | 100 | 3.9 |" in lines
    assert "| a full queue |  | 800 | 100 | 8.0 |" in lines
    assert "| distilq, 50% | 1.0 | 6 | 2.00 | 3.00 | 0.20 | 0.30 |" in lines
    assert "| mixed traffic, 50% of capacity | 8 | 20 | 50 | 2.50 | 60 |" in lines
    assert "p99 beside 1,000-token prompts to p50 of short ones only: 1.25." in lines
    assert "Absent: a `pipeline` call per Celery task: not installed: make peers." in lines
    assert lines[-1].endswith("4 threads on 4 cores; 2 rounds.")


def test_parts_that_are_not_measured_anew_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.measure.RESULTS", tmp_path)
    (tmp_path / "mixed.json").write_text(json.dumps(record()))
    assert mixed._kept(mixed.PARTS) == {"rounds": {}}
    kept = mixed._kept(["ours", "gaps"])
    assert list(kept["rounds"]) == ["batches"]
