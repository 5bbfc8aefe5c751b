"""Bulk rows that are paused for interactive jobs: their texts stay what they would have been."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilq.jobs import JobRequest, Outcome, Priority
from distilq.parameters import Parameters
from tests.unit.fakes import END, RememberingModel
from worker.engine import Engine
from worker.lines import CLASSES
from worker.rows import Row
from worker.scheduler import MOST_PAUSES
from worker.tokens import ByteTokenizer

INTERACTIVE, NORMAL, BULK = CLASSES


def engine(model: RememberingModel | None = None, **limits: int) -> Engine:
    sizes = {"max_rows": 4, "max_batch_tokens": 4096, "prefill_budget": 128} | limits
    return Engine(model or RememberingModel(), ByteTokenizer(), **sizes)


def ask(
    priority: Priority, inputs: Any = "a", timeout_s: float = 60.0, **parameters: Any
) -> JobRequest:
    asked: dict[str, Any] = {"max_new_tokens": 20, "seed": 7, "logprobs": 0} | parameters
    return JobRequest(
        inputs=inputs, timeout_s=timeout_s, priority=priority, parameters=Parameters(**asked)
    )


def steps(server: Engine, count: int) -> dict[str, Outcome]:
    done: dict[str, Outcome] = {}
    for _ in range(count):
        done.update(server.step())
    return done


def until(server: Engine, *keys: str) -> dict[str, Outcome]:
    done: dict[str, Outcome] = {}
    for _ in range(10_000):
        done.update(server.step())
        if done.keys() >= set(keys):
            return done
    raise AssertionError("the engine did not finish")


def undisturbed(request: JobRequest) -> Outcome:
    server = engine(max_rows=64, max_batch_tokens=1 << 17)
    server.submit("key", request)
    return until(server, "key")["key"]


def assert_same(found: Outcome, request: JobRequest) -> None:
    expected = undisturbed(request)
    assert found.error is None, found.error
    assert found.result == expected.result
    assert found.usage == expected.usage


def keys_in(rows: list[Row]) -> list[str]:
    return [row.prompt.job.key for row in rows]


def test_an_interactive_job_starts_at_the_next_step_though_bulk_fills_every_row() -> None:
    model = RememberingModel()
    server = engine(model)
    bulk = {f"bulk{n}": ask(BULK, inputs=chr(97 + n)) for n in range(9)}
    for key, request in bulk.items():
        server.submit(key, request)
    steps(server, 6)
    server.submit("urgent", ask(INTERACTIVE, max_new_tokens=2))
    done = steps(server, 2)
    assert list(done) == ["urgent"]
    assert sorted(keys_in(model.batches[-1])) == ["bulk0", "bulk1", "bulk2", "urgent"]
    assert server.stats.paused == 1
    done |= until(server, *bulk)
    for key, request in bulk.items():
        assert_same(done[key], request)
    assert server.stats.generated_tokens == 9 * 20 + 2, "what is replayed is not new"
    assert server.stats.row_steps == 9 * 20 + 2 + 6


def test_a_paused_row_takes_the_first_free_place_and_goes_on_where_it_was() -> None:
    model = RememberingModel()
    server = engine(model, max_rows=1)
    request = ask(BULK, prompt := "x" * 200)
    server.submit("bulk", request)
    server.submit("later", ask(BULK))
    steps(server, 10)
    before = server.progress()["bulk"]
    server.submit("urgent", ask(INTERACTIVE, max_new_tokens=3))
    until(server, "urgent")
    assert server.progress()["bulk"] == before == (8, 0), "the prompt took two steps"
    del model.prefilled[:]
    done = until(server, "bulk")
    assert sum(chunk.stop - chunk.start for chunk in model.prefilled) == len(prompt) - 1
    assert_same(done["bulk"], request)


def test_a_paused_row_copies_the_prompt_from_a_sibling_that_still_decodes() -> None:
    model = RememberingModel()
    server = engine(model)
    request = ask(BULK, "x" * 100, num_return_sequences=4)
    server.submit("bulk", request)
    steps(server, 5)
    server.submit("urgent", ask(INTERACTIVE, max_new_tokens=2))
    done = until(server, "urgent", "bulk")
    assert server.stats.paused == 1
    assert sum(chunk.stop - chunk.start for chunk in model.prefilled) == 99
    assert len(model.copies) == 4, "three at the start, and one after the pause"
    assert_same(done["bulk"], request)


def test_heirs_and_paused_rows_of_one_prompt_all_get_their_texts() -> None:
    server = engine(max_rows=3)
    model = server.model
    assert isinstance(model, RememberingModel)
    inner = model.draw
    model.draw = lambda row: END if len(row.tokens) > 4 + 3 * row.sequence else inner(row)
    request = ask(BULK, ("x" * 90, "y" * 30), num_return_sequences=7, max_new_tokens=40)
    server.submit("bulk", request)
    done: dict[str, Outcome] = {}
    for number in range(8):
        done |= steps(server, 4)
        server.submit(f"urgent{number}", ask(INTERACTIVE, max_new_tokens=5))
    done |= until(server, "bulk")
    assert server.stats.paused > 4
    whole = engine(model, max_rows=64)
    whole.submit("key", request)
    assert done["bulk"].result == until(whole, "key")["key"].result


def test_prompt_logprobs_are_not_doubled_by_a_second_prefill() -> None:
    server = engine(max_rows=1)
    request = ask(BULK, "hello" * 60, prompt_logprobs=0, max_new_tokens=5)
    server.submit("bulk", request)
    steps(server, 2)
    assert server.stats.generated_tokens == 0, "two chunks of five a step"
    server.submit("early", ask(INTERACTIVE, max_new_tokens=1))
    until(server, "early")
    steps(server, 4)
    server.submit("late", ask(INTERACTIVE, max_new_tokens=1))
    done = until(server, "bulk")
    assert server.stats.paused == 2
    assert_same(done["bulk"], request)


def test_a_prompt_without_new_tokens_can_be_paused_while_it_is_prefilled() -> None:
    server = engine(max_rows=1, prefill_budget=64)
    request = ask(BULK, "hello" * 60, prompt_logprobs=0, max_new_tokens=0)
    server.submit("bulk", request)
    steps(server, 2)
    server.submit("urgent", ask(INTERACTIVE, "x" * 10, max_new_tokens=1))
    assert list(steps(server, 2)) == ["urgent"]
    assert_same(until(server, "bulk")["bulk"], request)


def test_a_job_canceled_while_it_is_paused_leaves_nothing_behind() -> None:
    server = engine(max_rows=1)
    server.submit("bulk", ask(BULK))
    steps(server, 3)
    server.submit("urgent", ask(INTERACTIVE))
    steps(server, 1)
    server.cancel("bulk")
    done = dict(server.step())
    assert done["bulk"].error is not None
    assert done["bulk"].usage.generated_tokens == 3
    until(server, "urgent")
    assert not server.wait(0)
    assert server.stats.kv_tokens == 0


def test_a_job_that_is_late_while_it_is_paused_fails_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.time.monotonic", lambda: clock[0])
    server = engine(max_rows=1)
    request = ask(BULK, timeout_s=5)
    server.submit("bulk", request)
    steps(server, 3)
    server.submit("urgent", ask(INTERACTIVE))
    steps(server, 1)
    clock[0] += 6
    error = dict(server.step())["bulk"].error
    assert error is not None
    partial = error["partial"][0][0]
    assert partial["generated_tokens"] == 3
    whole = undisturbed(request).result
    assert whole is not None
    assert whole[0][0].generated_text.startswith(partial["generated_text"].rstrip("\ufffd"))


def test_a_failed_step_ends_the_running_jobs_and_a_paused_one_goes_on() -> None:
    model = RememberingModel()
    server = engine(model, max_rows=1)
    request = ask(BULK, "x" * 50)
    server.submit("bulk", request)
    steps(server, 3)
    server.submit("urgent", ask(INTERACTIVE))
    steps(server, 1)
    inner = model.draw

    def draw(row: Row) -> int:
        model.draw = inner
        raise MemoryError("no room")

    model.draw = draw
    done = until(server, "urgent", "bulk")
    assert done["urgent"].error is not None
    assert_same(done["bulk"], request)


def test_a_row_that_is_paused_while_it_replays_keeps_all_its_tokens() -> None:
    server = engine(max_rows=1)
    request = ask(BULK, "x" * 10)
    server.submit("bulk", request)
    steps(server, 10)
    for number in range(MOST_PAUSES):
        server.submit(f"urgent{number}", ask(INTERACTIVE, max_new_tokens=1))
        until(server, f"urgent{number}")
        steps(server, 3)
        assert server.progress()["bulk"] == (9, 0)
    assert server.stats.paused == MOST_PAUSES
    server.submit("last", ask(INTERACTIVE, max_new_tokens=1))
    assert list(until(server, "bulk")) == ["bulk"], "it has given way often enough"


def test_a_job_without_any_row_in_the_batch_counts_as_waiting() -> None:
    server = engine(max_rows=2)
    server.submit("bulk", ask(BULK, num_return_sequences=2))
    steps(server, 2)
    assert server.stats.waiting == 0
    server.submit("urgent", ask(INTERACTIVE))
    steps(server, 1)
    assert server.stats.waiting == 0, "one of its rows still runs"
    server.submit("urgent2", ask(INTERACTIVE))
    steps(server, 1)
    assert server.stats.waiting == 1


def test_a_malformed_interactive_job_pauses_nobody() -> None:
    server = engine(max_rows=1)
    server.submit("bulk", ask(BULK))
    steps(server, 2)
    server.submit("urgent", ask(INTERACTIVE, "x" * 1100))
    assert dict(server.step())["urgent"].error is not None
    assert server.stats.paused == 0


Arrival = tuple[str, int, int]
arrivals = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "step", "step", "step", "cancel"]),
        st.integers(0, 2),
        st.integers(0, 10_000),
    ),
    max_size=60,
)


def any_request(level: int, number: int) -> JobRequest:
    size = 1 + number % 150 if number % 3 else 1
    asked: dict[str, Any] = {"max_new_tokens": number % 12, "num_return_sequences": 1 + number % 3}
    if number % 2:
        asked["prompt_logprobs"] = 0
    inputs = ("x" * size, "y") if number % 5 == 0 else "z" * size
    return ask(CLASSES[level], inputs, seed=number, **asked)


@settings(deadline=None)
@given(arrivals)
def test_whatever_arrives_every_text_is_what_it_would_have_been(arrivals: list[Arrival]) -> None:
    server = engine(max_rows=3, max_batch_tokens=700, prefill_budget=64)
    asked: dict[str, JobRequest] = {}
    done: dict[str, Outcome] = {}
    for what, level, number in arrivals:
        if what == "submit":
            key = f"job{len(asked)}"
            asked[key] = any_request(level, number)
            server.submit(key, asked[key])
        elif what == "step":
            done.update(server.step())
        elif asked:
            server.cancel(f"job{number % len(asked)}")
    if asked.keys() - done.keys():
        done |= until(server, *(asked.keys() - done.keys()))
    for key, request in asked.items():
        error = done[key].error
        if error is None:
            assert_same(done[key], request)
        else:
            assert error["type"].endswith("canceled")
    assert server.stats.kv_tokens == server.stats.rows == server.stats.waiting == 0
    assert server.stats.generated_tokens == sum(o.usage.generated_tokens for o in done.values())
