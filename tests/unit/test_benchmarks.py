"""The benchmarks' own logic: targets, tables, profiles, the run of all. Nothing is timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as all_of_them
from benchmarks import engine, step_profile
from benchmarks.peers.process import PeerFailed
from benchmarks.subjects import SUBJECTS, Running
from benchmarks.targets import TARGETS, Target, judged
from distilq.settings import Settings
from worker import model as model_module
from worker.attention import DecodeAttention
from worker.loading import load_engine

RATES = {"generate": 100.0, "ours-float16": 320.0, "limit-float16": 400.0, "batching": 80.0}


def spread(median: float) -> dict[str, Any]:
    values = [0.9 * median, median, 1.1 * median]
    return {"median": median, "low": values[0], "high": values[2], "values": values}


def record(**absent: str) -> dict[str, Any]:
    rates = {"1": {"generate": spread(50)}, "64": {k: spread(v) for k, v in RATES.items()}}
    return {
        "machine": {"cpu": "a CPU", "cores": 4, "packages": {"torch": "2", "transformers": "5"}},
        "asked": {"threads": 3},
        "found": {"rates": rates, "absent": absent, "peers": {"other": {"peer": "1.0"}}},
    }


def test_a_target_is_measured_against_the_fastest_of_the_others() -> None:
    target = Target("ours", ("slow", "fast", "absent"), "words", 8, 1.5)
    assert target.ratio({8: {"ours": 30, "slow": 10, "fast": 20}}) == 1.5
    assert target.ratio({8: {"ours": 30}}) is None
    assert target.ratio({64: {"ours": 30, "slow": 10}}) is None


def test_targets_are_met_missed_or_not_measured() -> None:
    lines = judged(engine.medians(record())).splitlines()
    assert len(lines) == 2 + len(TARGETS)
    assert "| float16 to transformers `generate` | 64 | 3x | 3.20x | met |" in lines
    assert "| float16 to transformers `generate` | 1 | 2.3x |  | not measured |" in lines
    missed = "| float16 to transformers continuous batching | 64 | 6x | 4.00x | **missed** |"
    assert missed in lines


def test_targets_name_subjects_that_there_are() -> None:
    names = {subject.name for subject in SUBJECTS}
    for target in TARGETS:
        assert {target.ours, *target.others} <= names


def test_the_table_of_rates_has_ratios_spread_and_empty_cells() -> None:
    lines = engine.tables(record()).splitlines()
    assert "| transformers `generate`, float32 | 50 (1.00x) | 100 (1.00x) | ±10% |" in lines
    assert "| **distilq float16** |  | 320 (3.20x) | ±10% |" in lines
    assert "| float16 |  | 80% |" in lines
    assert not [line for line in lines if line.startswith("Absent")]


def test_the_tables_name_the_machine_and_the_versions() -> None:
    said = "a CPU, 3 threads on 4 cores; peer 1.0, torch 2, transformers 5."
    assert engine.tables(record()).splitlines()[-1] == said


def test_the_tables_say_who_is_absent_and_why() -> None:
    table = engine.tables(record(openvino="not installed: make peers-full"))
    said = "Absent: OpenVINO GenAI continuous batching: not installed: make peers-full."
    assert said in table.splitlines()


class Fails:
    about: dict[str, Any] = {}  # noqa: RUF012 - as the protocol has it
    closed = False

    def rate(self, prompts: Sequence[tuple[int, ...]], new_tokens: int) -> float:
        raise PeerFailed("no answer")

    def close(self) -> None:
        self.closed = True


def test_a_peer_that_fails_as_it_warms_up_is_absent_from_then_on() -> None:
    peer = Fails()
    running: dict[str, Running] = {"litserve": peer}
    absent: dict[str, str] = {}
    engine._warm_up(running, absent, [(1, 2)])
    assert not running
    assert peer.closed
    assert absent == {"litserve": "it failed at 1 rows: no answer"}


def test_the_clock_counts_all_time_for_one_part_or_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    clock = step_profile.Clock()  # 0
    inner = clock.around(lambda: None, "GELU", then="sampling")
    outer = clock.around(inner, "layer norms")
    outer()  # 1: norms, 2: GELU, 3: sampling, 4: as before
    clock.switch("GELU")  # 5
    assert {part: s for part, s in clock.seconds.items() if s} == {
        "scheduling, emitting": 2,
        "layer norms": 1,
        "GELU": 1,
        "sampling": 1,
    }


def test_the_middle_half_of_the_steps_counts() -> None:
    steps = [{"a": float(n), "b": 1.0} for n in (100, 2, 4, 0)]
    assert step_profile.middle(steps) == {"a": 3.0, "b": 1.0}


def test_a_profiled_step_touches_every_part_and_leaves_the_engine_as_it_was() -> None:
    engine_under_test = load_engine(Settings(model="bundled", precision="float32", max_rows=2))
    info = engine_under_test.model.info
    engine_under_test.model.info = replace(info, eos_token_ids=frozenset())
    before = (DecodeAttention.__call__, vars(model_module)["gelu"])
    products = Products()
    found = step_profile.profile(engine_under_test, products, 2, rounds=1)  # type: ignore[arg-type]
    assert set(found["parts"]) == set(step_profile.PARTS)
    assert all(seconds > 0 for seconds in found["parts"].values())
    assert found["products_alone"] == 0.5
    assert (DecodeAttention.__call__, vars(model_module)["gelu"]) == before
    assert "forward" not in vars(engine_under_test.model)


class Products:
    def rate(self, rows: int, steps: int) -> float:
        return 2.0 * rows


def test_a_benchmark_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = []
    for name, fails in (("engine", True), ("scale", False)):
        module = ModuleType(name)

        def main(arguments: Sequence[str], name: str = name, fails: bool = fails) -> None:
            given.append((name, arguments))
            if fails:
                raise ValueError("broken")

        vars(module)["main"] = main
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    monkeypatch.setitem(sys.modules, "benchmarks.memory", None)
    assert all_of_them.main(["--full", "--only", "engine", "scale", "memory"]) == 1
    assert given == [("engine", ["--full"]), ("scale", ["--full"])]
    said = capsys.readouterr().out
    assert "engine FAILED: ValueError: broken" in said
    assert "failed: engine, memory" in said
