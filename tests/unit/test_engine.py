from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from distilq.jobs import JobRequest, Outcome
from distilq.parameters import Parameters
from tests.unit.fakes import END, CountingModel
from worker.engine import RECENT_PASSES, Engine
from worker.rows import Draws, Row
from worker.tokens import ByteTokenizer


def engine(model: CountingModel | None = None, **limits: int) -> Engine:
    sizes = {"max_rows": 4, "max_batch_tokens": 4096, "prefill_budget": 128} | limits
    return Engine(model or CountingModel(), ByteTokenizer(), **sizes)


def ask(inputs: Any = "a", timeout_s: float = 60.0, **parameters: Any) -> JobRequest:
    asked: dict[str, Any] = {"max_new_tokens": 3, "seed": 7, "return_full_text": False}
    if "max_length" in parameters:
        del asked["max_new_tokens"]
    return JobRequest(
        inputs=inputs, timeout_s=timeout_s, parameters=Parameters(**(asked | parameters))
    )


def run(server: Engine, **requests: JobRequest) -> dict[str, Outcome]:
    for key, request in requests.items():
        server.submit(key, request)
    done: dict[str, Outcome] = {}
    for _ in range(10_000):
        done.update(server.step())
        if len(done) == len(requests):
            return done
    raise AssertionError("the engine did not finish")


def answer(request: JobRequest, **limits: Any) -> Outcome:
    return run(engine(**limits), key=request)["key"]


def texts(outcome: Outcome) -> list[list[str]]:
    assert outcome.error is None
    assert outcome.result is not None
    return [[text.generated_text for text in texts] for texts in outcome.result]


def problem(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    assert outcome.result is None
    assert outcome.error is not None
    return outcome.error["type"].rsplit(":", 1)[1], outcome.error


def test_a_job_gets_its_tokens() -> None:
    outcome = answer(ask("a"))
    assert texts(outcome) == [["bcd"]]
    assert outcome.usage.prompt_tokens == 1
    assert outcome.usage.generated_tokens == 3
    assert outcome.result is not None
    assert outcome.result[0][0].finish_reason == "length"
    assert outcome.result[0][0].seed == 7
    assert outcome.metrics.batch_size == 1


def test_the_prompt_comes_first_when_it_is_wanted() -> None:
    assert texts(answer(ask("xa", return_full_text=True))) == [["xabcd"]]


def test_a_job_joins_the_running_batch_at_the_next_step() -> None:
    model = CountingModel()
    server = engine(model)
    server.submit("long", ask("a", max_new_tokens=20))
    server.step()
    server.submit("short", ask("p", max_new_tokens=2))
    assert server.step() == []
    assert len(model.batches[-1]) == 2
    [(key, outcome)] = server.step()
    assert key == "short"
    assert texts(outcome) == [["qr"]]
    server.step()
    assert len(model.batches[-1]) == 1, "the finished row has left"


def test_a_job_with_more_rows_than_places_still_finishes() -> None:
    model = CountingModel()
    outcome = run(engine(model, max_rows=3), key=ask(("a", "k"), num_return_sequences=5))["key"]
    assert texts(outcome) == [["bcd"] * 5, ["lmn"] * 5]
    assert max(map(len, model.batches)) == 3


def test_a_prompt_is_prefilled_once_whatever_its_rows() -> None:
    model = CountingModel()
    request = ask("x" * 10, num_return_sequences=9)
    run(engine(model, max_rows=4), key=request)
    assert sum(chunk.stop - chunk.start for chunk in model.prefilled) == 9
    assert len(model.copies) == 3, "three rows beside the first; five inherit a segment"


def test_a_long_prompt_does_not_stall_running_rows() -> None:
    model = CountingModel()
    server = engine(model, prefill_budget=64)
    server.submit("running", ask("a", max_new_tokens=50))
    server.step()
    server.submit("long", ask("x" * 600, max_new_tokens=1))
    for _ in range(8):
        server.step()
        assert len(model.batches[-1]) == 1
        assert server.progress()["running"][0] == len(model.batches)


def test_a_big_job_waits_for_room_and_then_runs() -> None:
    server = engine(max_batch_tokens=1024)
    jobs = {f"small{n}": ask("a", max_new_tokens=40 + n) for n in range(3)}
    done = run(server, **jobs, big=ask("x" * 900, max_new_tokens=100), last=ask("a"))
    assert all(outcome.error is None for outcome in done.values())


def test_a_job_that_can_never_fit_is_refused_with_both_numbers() -> None:
    server = engine(CountingModel(n_positions=8192), max_batch_tokens=1024)
    kind, error = problem(run(server, key=ask("x" * 1500, max_new_tokens=100))["key"])
    assert kind == "job_too_large"
    assert (error["tokens"], error["limit"]) == (1600, 1024)


@pytest.mark.parametrize(
    ("asked", "limit"),
    [({"max_new_tokens": 100}, 924), ({"max_length": 50}, 49), ({"max_length": 5000}, 1023)],
)
def test_a_prompt_too_long_is_refused_with_both_numbers(asked: dict[str, int], limit: int) -> None:
    kind, error = problem(answer(ask(("a", "x" * (limit + 1)), **asked)))
    assert kind == "prompt_too_long"
    assert (error["prompt_tokens"], error["limit"], error["input"]) == (limit + 1, limit, 1)
    assert texts(answer(ask("x" * limit, **asked)))


def test_a_prompt_too_long_is_told_what_leaves_no_room() -> None:
    _, error = problem(answer(ask("abcde", max_length=3)))
    assert (
        error["detail"] == "input 0 has 5 tokens; at most 2 fit into max_length 3 with a new token"
    )
    _, error = problem(answer(ask("x" * 1100, max_length=5000)))
    assert "at most 1023 fit into 1024 positions" in error["detail"]


def test_token_ids_that_end_amid_a_character_are_completed() -> None:
    model = CountingModel()
    model.draw = lambda row: "ü".encode()[1]
    request = ask((ord("a"), "ü".encode()[0]), max_new_tokens=1, return_full_text=True)
    assert texts(run(engine(model), key=request)["key"]) == [["aü"]]


def test_truncation_keeps_the_end_of_the_prompt_and_shows_all_of_it() -> None:
    prompt = "x" * 1100 + "a"
    outcome = answer(ask(prompt, truncation=True, return_full_text=True))
    assert texts(outcome) == [[prompt + "bcd"]]
    assert outcome.usage.prompt_tokens == 1021
    outcome = answer(ask(prompt, truncation=True, max_length=10))
    assert texts(outcome) == [["b"]]
    assert outcome.usage.prompt_tokens == 9


def test_a_prompt_may_be_cut_to_its_last_tokens() -> None:
    outcome = answer(ask("xxxa", truncate_prompt_tokens=2, return_full_text=True))
    assert texts(outcome) == [["xxxabcd"]]
    assert outcome.usage.prompt_tokens == 2
    assert answer(ask("xa", truncate_prompt_tokens=9)).usage.prompt_tokens == 2
    assert answer(ask("x" * 1100, truncate_prompt_tokens=5)).usage.prompt_tokens == 5


def test_new_tokens_are_counted_from_the_prompt_with_max_length() -> None:
    assert texts(answer(ask("xxa", max_length=5))) == [["bc"]]
    assert texts(answer(ask("xxa", max_length=5, max_new_tokens=4))) == [["bcde"]]


def test_an_empty_prompt_starts_from_the_end_token() -> None:
    model = CountingModel()
    outcome = run(engine(model), key=ask("", return_full_text=True))["key"]
    assert model.batches[0][0].prompt.ids == [END]
    assert texts(outcome) == [["\x01\x02\x03"]]


def test_the_end_token_ends_a_text_and_counts_but_is_not_shown() -> None:
    model = CountingModel()
    model.draw = lambda row: END if len(row.tokens) == 2 else 65
    outcome = run(engine(model), key=ask("a", max_new_tokens=9))["key"]
    assert texts(outcome) == [["AA"]]
    assert outcome.result is not None
    assert outcome.result[0][0].finish_reason == "eos_token"
    assert outcome.result[0][0].generated_tokens == 3


def test_a_stop_string_over_several_tokens_ends_the_text_before_it() -> None:
    outcome = answer(ask("a", stop=("zzz", "efg", "fg"), max_new_tokens=20))
    assert outcome.result is not None
    text = outcome.result[0][0]
    assert (text.generated_text, text.stop, text.finish_reason) == ("bcd", "efg", "stop_sequence")
    assert text.generated_tokens == 6


def test_a_stop_string_with_many_byte_characters_is_found() -> None:
    model = CountingModel()
    reply = "über→ende".encode()
    model.draw = lambda row: reply[len(row.tokens)]
    outcome = run(engine(model), key=ask("a", stop=("→e",), max_new_tokens=9))["key"]
    assert texts(outcome) == [["über"]]


def test_a_stop_string_in_the_prompt_does_not_count() -> None:
    assert texts(answer(ask("abc", stop=("c", "cd"), max_new_tokens=3))) == [["def"]]


def test_a_character_cut_by_the_length_limit_reads_as_a_replacement_character() -> None:
    model = CountingModel()
    reply = "→".encode()
    model.draw = lambda row: reply[len(row.tokens)]
    assert texts(run(engine(model), key=ask("a", max_new_tokens=2))["key"]) == [["\ufffd"]]


def test_best_of_returns_the_likeliest_first() -> None:
    model = CountingModel()
    model.draw = lambda row: 65 + row.sequence
    request = ask("a", best_of=4, num_return_sequences=2)
    outcome = run(engine(model, max_rows=2), key=request)["key"]
    assert texts(outcome) == [["AAA", "BBB"]], "the fake's log-probability falls by sequence"
    assert outcome.usage.generated_tokens == 12


def test_no_new_tokens_is_an_empty_text() -> None:
    model = CountingModel()
    request = ask(("a" * 100, "b"), max_new_tokens=0, num_return_sequences=7)
    outcome = run(engine(model), key=request)["key"]
    assert texts(outcome) == [[""] * 7, [""] * 7]
    assert model.batches == []


def test_prompt_logprobs_cover_the_prompt_and_begin_with_null() -> None:
    outcome = answer(ask("hello" * 50, max_new_tokens=0, prompt_logprobs=0))
    assert outcome.result is not None
    known = outcome.result[0][0].prompt_logprobs
    assert known is not None
    assert "".join(each.text for each in known) == "hello" * 50
    assert [each.logprob for each in known] == [None] + [-1.0] * 249


def test_a_token_outside_the_vocabulary_is_named() -> None:
    kind, error = problem(answer(ask((3, 999))))
    assert (kind, error["token"], error["vocab_size"]) == ("invalid_token", 999, 257)
    kind, error = problem(answer(ask("a", logit_bias={"257": 1.0})))
    assert (kind, error["token"]) == ("invalid_token", 257)


def test_a_canceled_job_leaves_at_the_next_step_and_the_others_go_on() -> None:
    server = engine()
    server.submit("gone", ask("a", max_new_tokens=50, num_return_sequences=9))
    server.submit("waiting", ask("a"))
    server.step()
    server.cancel("gone")
    server.cancel("unknown")
    done = dict(server.step())
    assert problem(done["gone"])[0] == "canceled"
    while len(done) < 2:
        done.update(server.step())
    assert texts(done["waiting"]) == [["bcd"]]
    assert server.stats.kv_tokens == 0


def test_a_job_can_be_canceled_before_it_was_seen() -> None:
    server = engine()
    server.submit("gone", ask("a"))
    server.cancel("gone")
    assert problem(dict(server.step())["gone"])[0] == "canceled"


def test_a_late_job_fails_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.time.monotonic", lambda: clock[0])
    server = engine()
    server.submit("late", ask("a", timeout_s=5, max_new_tokens=50))
    server.step()
    server.step()
    clock[0] += 6
    kind, error = problem(dict(server.step())["late"])
    assert kind == "timed_out"
    assert error["timeout_s"] == 5
    assert error["partial"][0][0]["generated_text"] == "bc"
    assert server.stats.rows == 0


def test_the_time_that_a_job_waits_for_room_is_not_time_that_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.time.monotonic", lambda: clock[0])
    server = engine(max_rows=1)
    server.submit("first", ask("a", timeout_s=600, max_new_tokens=20))
    server.submit("second", ask("a", timeout_s=5, max_new_tokens=3))
    done: dict[str, Outcome] = {}
    while "second" not in done:
        clock[0] += 1
        done.update(server.step())
    assert done["second"].error is None


def test_long_inputs_are_tokenized_over_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.time.monotonic", lambda: clock[0])

    class Slow(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            clock[0] += 1
            return super().encode(text)

    model = CountingModel()
    server = Engine(model, Slow(), max_rows=64, max_batch_tokens=65_536, prefill_budget=512)
    server.submit("first", ask("a", max_new_tokens=20))
    server.step()
    server.submit("many", ask(("a",) * 5))
    before = len(model.batches)
    steps = 0
    while "many" not in (done := dict(server.step())):
        steps += 1
    assert texts(done["many"]) == [["bcd"]] * 5
    assert len(model.batches) - before > 5  # the first went on meanwhile, in every step


def test_a_job_cannot_ask_for_more_log_probabilities_than_a_result_may_have() -> None:
    assert texts(answer(ask("x" * 500, prompt_logprobs=3, max_new_tokens=3)))
    many = ask(("x" * 900,) * 6, prompt_logprobs=20)
    kind, error = problem(answer(many, max_rows=8, max_batch_tokens=65_536))
    assert (kind, error["limit"]) == ("job_too_large", 100_000)


def test_an_empty_prompt_needs_a_token_to_start_from() -> None:
    model = CountingModel()
    model.info = replace(model.info, bos_token_id=None, eos_token_ids=frozenset())
    done = run(engine(model), empty=ask(""), other=ask("a"))
    assert problem(done["empty"])[0] == "empty_prompt"
    assert texts(done["other"]) == [["bcd"]]


def test_any_of_several_end_tokens_ends_a_text() -> None:
    model = CountingModel()
    model.info = replace(model.info, eos_token_ids=frozenset({ord("c"), END}))
    outcome = run(engine(model), key=ask("a", max_new_tokens=9))["key"]
    assert texts(outcome) == [["b"]]
    assert outcome.result is not None
    assert outcome.result[0][0].finish_reason == "eos_token"


def test_a_row_whose_token_cannot_be_drawn_fails_its_own_job_only() -> None:
    class Failing(CountingModel):
        def sample(self, logits: None, rows: Sequence[Row]) -> Draws:
            draws = super().sample(logits, rows)
            draws.failed = {n: IndexError("no") for n, r in enumerate(rows) if r.seed == 13}
            return draws

    done = run(engine(Failing()), bad=ask("a", seed=13), good=ask("a"))
    assert problem(done["bad"])[0] == "generation_failed"
    assert texts(done["good"]) == [["bcd"]]


class Unlucky(ByteTokenizer):
    """Fails on texts that hold one letter."""

    def decode(self, ids: Sequence[int]) -> str:
        text = super().decode(ids)
        if "!" in text:
            raise ValueError("bad luck")
        return text


def test_a_row_that_raises_fails_its_own_job_only() -> None:
    server = Engine(
        CountingModel(), Unlucky(), max_rows=4, max_batch_tokens=1024, prefill_budget=64
    )
    done = run(server, bad=ask(" ", num_return_sequences=3), good=ask("a"))
    kind, error = problem(done["bad"])
    assert kind == "generation_failed"
    assert "bad luck" in error["detail"]
    assert texts(done["good"]) == [["bcd"]]
    assert server.stats.kv_tokens == 0


def test_a_failed_step_ends_its_jobs_and_the_engine_goes_on() -> None:
    model = CountingModel()
    server = engine(model, max_rows=1)
    failing = [True]

    def draw(row: Row) -> int:
        if failing:
            failing.clear()
            raise MemoryError("no room")
        return (row.last_token + 1) % END

    model.draw = draw
    done = run(server, first=ask("a"), second=ask("a"))
    assert problem(done["first"])[0] == "generation_failed"
    assert texts(done["second"]) == [["bcd"]]
    assert model.reserved == [4096, 4096], "the cache was made anew"


def test_wait_returns_when_work_arrives_from_another_thread() -> None:
    server = engine()
    assert not server.wait(0)
    thread = threading.Thread(target=server.submit, args=("key", ask("a")))
    thread.start()
    assert server.wait(60)
    thread.join()
    while not server.step():
        pass
    assert not server.wait(0)


def test_progress_and_counters_tell_what_has_been_done() -> None:
    server = engine(max_rows=2)
    server.submit("key", ask(("a", "b", "c"), max_new_tokens=2))
    assert server.progress() == {"key": (0, 0)}
    server.step()
    assert server.progress() == {"key": (2, 0)}
    server.step()
    assert server.progress() == {"key": (4, 2)}
    counters = server.stats
    assert (counters.steps, counters.row_steps, counters.generated_tokens) == (2, 4, 4)
    assert counters.kv_capacity == 4096


def test_the_last_passes_are_remembered_with_what_each_did() -> None:
    server = engine(prefill_budget=2)
    run(server, a=ask("abcde", max_new_tokens=3, num_return_sequences=2))
    assert server.recent() == [(0, 2), (0, 2), (2, 0), (2, 0), (2, 0)]
    run(server, a=ask("a", max_new_tokens=RECENT_PASSES + 5))
    assert server.recent() == [(1, 0)] * RECENT_PASSES
    run(server, a=ask("ab", max_new_tokens=2, num_return_sequences=3))
    assert server.recent()[-4:] == [(1, 0), (0, 1), (3, 0), (3, 0)]
    assert len(server.recent()) == RECENT_PASSES


def test_new_tokens_are_counted_for_all_workers_together() -> None:
    server = engine()
    run(server, a=ask("a", max_new_tokens=7), b=ask("b", max_new_tokens=2))
    assert server.observations.take()["generated_tokens::total"] == 9


def test_many_mixed_jobs_all_end_and_leave_the_cache_empty() -> None:
    server = engine(max_rows=5, max_batch_tokens=2048, prefill_budget=64)
    jobs = {
        f"job{n}": ask(
            ("x" * (1 + 37 * n % 400), "a"),
            max_new_tokens=n % 7,
            num_return_sequences=1 + n % 3,
        )
        for n in range(60)
    }
    done = run(server, **jobs)
    for key, outcome in done.items():
        assert outcome.error is None, key
    assert server.stats.kv_tokens == 0
    assert not server.wait(0)
