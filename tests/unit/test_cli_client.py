"""`distilq generate`, `submit`, `wait`, `status`, `cancel` and `ls` over an API in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from distilq import errors as e
from distilq.access import ApiKey
from distilq.cli.screen import Screen
from distilq.client import StatusEvent, TokenEvent
from distilq.jobs import JobStatus
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.cli_runner import Command, Worked, finish, tell
from tests.unit.client_twins import Faulty, Handler, api, no_pauses, refused

JOBS, BATCH = "/v1/jobs", "/v1/jobs:batch"


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.alive = [FAKE_WORKER]
    return store


@pytest.fixture
def worked(store: MemoryStore) -> Worked:
    return Worked(api(store), store, finish)


@pytest.fixture
def distilq(monkeypatch: pytest.MonkeyPatch, worked: Worked) -> Command:
    return Command(monkeypatch, worked)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return no_pauses(monkeypatch)


# generate


def test_generate_prints_the_text_and_nothing_else(distilq: Command) -> None:
    said = distilq("generate", "Once")
    assert (said.exit_code, said.stdout, said.stderr) == (0, "Once and on\n", "")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_a_prompt_comes_from_a_pipe(distilq: Command, arguments: list[str]) -> None:
    assert distilq("generate", *arguments, given="Grüße\n").stdout == "Grüße and on\n"
    assert distilq("generate", *arguments, given="two\nlines\n\n").stdout == "two\nlines\n and on\n"


def test_a_pipe_without_text_is_refused(distilq: Command) -> None:
    said = distilq("generate", given=b"\xff")
    assert said.exit_code == 1
    assert "not UTF-8" in said.stderr


def test_several_texts_have_an_empty_line_between_them(distilq: Command) -> None:
    assert distilq("generate", "Once", "-n", "2").stdout == "Once and on\n\nOnce and on\n"


def test_all_options_go_into_the_request(distilq: Command, worked: Worked) -> None:
    options = ["--max-new-tokens", "3", "--temperature", "0.5", "--top-k", "4", "--top-p", "0.9"]
    options += ["--seed", "5", "--stop", "a", "--stop", "b", "-n", "2"]
    options += ["--param", "return_full_text=false", "--param", 'logit_bias={"7": -1}']
    assert distilq("generate", "Once", *options).exit_code == 0
    (body,) = worked.bodies(JOBS)
    assert body == {
        "inputs": "Once",
        "priority": "interactive",
        "parameters": {
            **{"max_new_tokens": 3, "temperature": 0.5, "top_k": 4, "top_p": 0.9, "seed": 5},
            **{"stop": ["a", "b"], "num_return_sequences": 2, "return_full_text": False},
            "logit_bias": {"7": -1},
        },
    }


@pytest.mark.parametrize("param", ["timeout=3", "top_q=1", "seed"])
def test_a_parameter_that_there_is_not_is_a_wrong_option(distilq: Command, param: str) -> None:
    said = distilq("generate", "Once", "--param", param)
    assert said.exit_code == 2
    assert "is not NAME=VALUE" in said.stderr


def test_a_value_that_the_service_refuses_is_one_line(distilq: Command) -> None:
    said = distilq("generate", "Once", "--top-p", "2")
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert "#/parameters/top_p" in line


def test_generate_as_json_is_the_whole_job(distilq: Command) -> None:
    (line,) = distilq("generate", "Once", "--json").stdout.splitlines()
    job = json.loads(line)
    assert job["status"] == "succeeded"
    assert job["result"][0][0]["generated_text"] == "Once and on"


@pytest.mark.parametrize(("options", "shown"), [([], 1), (["-n", "3"], 3)])
def test_a_stream_prints_what_generate_prints(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, options: list[str], shown: int
) -> None:
    distilq = Command(monkeypatch, Worked(api(store), store, tell))
    said = distilq("generate", "Once", "--stream", *options)
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == "\n".join(["Once and on\n"] * shown)


def test_a_stream_as_json_is_its_events(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    distilq = Command(monkeypatch, Worked(api(store), store, tell))
    said = distilq("generate", "Once", "--stream", "--json")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    told = [event for event in events if event["type"] == "token"]
    assert "".join(event["text"] for event in told) == " and on"
    assert events[-1]["type"] == "done"


def token(text: str, sequence: int = 0, *, last: bool = False) -> TokenEvent:
    end = "length" if last else None
    return TokenEvent(input=0, sequence=sequence, index=0, id=7, text=text, finish_reason=end)


RESTARTED = StatusEvent(status=JobStatus.RUNNING, attempt=2, restarted=True)


def test_texts_are_shown_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("A", 2)
    screen.token(token(" b"))
    screen.token(token(" x", 1))
    assert capsys.readouterr().out == "A b"
    screen.token(token(" c", last=True))
    assert capsys.readouterr().out == " c\n\nA x"
    screen.token(token(" y", 1, last=True))
    assert capsys.readouterr().out == " y\n"
    screen.done(["A b c", "A x y"])
    assert capsys.readouterr() == ("", "")


def test_a_restart_is_told_and_repeats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("A", 1)
    screen.token(token(" b"))
    screen.token(token(" c"))
    screen.status(RESTARTED)
    screen.token(token(" b"))
    screen.token(token(" c"))
    screen.token(token(" d", last=True))
    screen.done(["A b c d"])
    out, err = capsys.readouterr()
    assert out == "A b c d\n"
    assert err == "distilq: a worker died; the job begins again\n"


def test_a_text_that_is_another_after_a_restart_is_shown_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen("A", 1)
    screen.token(token(" b"))
    screen.status(RESTARTED)
    screen.token(token(" x", last=True))
    screen.done(["A x"])
    out, err = capsys.readouterr()
    assert out == "A b\nA x\n"
    assert "have come out otherwise" in err


def test_ctrl_c_cancels_the_job(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
    def interrupted(request: Any, proceed: Handler) -> Any:
        proceed(request)
        raise KeyboardInterrupt

    for options in ([], ["--stream"]):
        distilq = Command(monkeypatch, Faulty(api(store, max_wait_s=1), None, interrupted))
        said = distilq("generate", "Once", *options)
        assert (said.exit_code, said.stdout) == (130, "")
    assert {job.status.value for job in store.page(None, 9, None).jobs} == {"canceled"}


def test_a_service_without_workers_is_told_of(distilq: Command, store: MemoryStore) -> None:
    store.alive = []
    said = distilq("generate", "Once")
    assert said.exit_code == 0
    assert said.stderr == "distilq: no worker is alive: jobs wait until one starts\n"


# what goes wrong


@pytest.mark.parametrize(
    "arguments",
    [["generate", "a"], ["submit", "a"], ["ls"], ["status", "0"], ["cancel", "0"], ["wait", "0"]],
)
def test_a_service_that_is_away_is_one_line_after_two_tries(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    seen = Faulty(api(MemoryStore()), *[refused] * 9)
    said = Command(monkeypatch, seen)(*arguments, "--url", "http://here.example:1")
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith("distilq: The service cannot be reached: http://here.example:1: ")
    assert line.endswith("start one with `distilq up`, or say where one is: --url, DISTILQ_URL")
    assert len(seen.requests) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (e.PromptTooLong("it has 2,000 tokens"), 3),
        (e.GenerationFailed("no luck"), 3),
        (e.TimedOut("after 60 s"), 5),
    ],
)
def test_how_a_job_ends_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, error: e.DistilqError, code: int
) -> None:
    worked = Worked(api(store), store, lambda store, job_id: store.fail(job_id, error))
    distilq = Command(monkeypatch, worked)
    said = distilq("generate", "a")
    assert said.exit_code == code
    (line,) = said.stderr.splitlines()
    (job,) = store.page(None, 9, None).jobs
    assert line.startswith(f"distilq: job {job.id}: {error.title}: {error.detail}")
    assert distilq("wait", job.id).exit_code == code


def test_keys_are_asked_for(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
    ring = MemoryRing()
    key = ring.create(ApiKey(id="one", name="one"))
    distilq = Command(monkeypatch, Worked(api(store, ring), store, lambda *_: None))
    said = distilq("ls")
    assert said.exit_code == 1
    assert "--api-key, DISTILQ_API_KEY" in said.stderr
    assert distilq("ls", "--api-key", key).exit_code == 0
    assert distilq("ls", DISTILQ_API_KEY=key).exit_code == 0


def test_an_address_that_is_none_is_told(distilq: Command) -> None:
    said = distilq("ls", DISTILQ_URL="redis://here")
    assert said.exit_code == 1
    assert "must be like http://127.0.0.1:8000" in said.stderr


# submit


def test_submit_prints_the_id(distilq: Command, store: MemoryStore) -> None:
    job_id = distilq("submit", "Once").stdout.rstrip("\n")
    assert store.get(job_id).queue.priority.value == "normal"
    assert json.loads(distilq("submit", "Once", "--json").stdout).keys() == {"id"}


def test_submit_says_all_of_a_job(distilq: Command, worked: Worked) -> None:
    options = ["--priority", "bulk", "--timeout-s", "9", "--stream", "--metadata", "a=b=c"]
    assert distilq("submit", *options, "-n", "2", given="Once\n").exit_code == 0
    (body,) = worked.bodies(BATCH)
    assert body["jobs"] == [
        {
            **{"inputs": "Once", "priority": "bulk", "timeout_s": 9.0, "stream": True},
            **{"metadata": {"a": "b=c"}, "parameters": {"num_return_sequences": 2}},
        }
    ]


@pytest.mark.parametrize(
    "arguments", [["--priority", "high"], ["--metadata", "a"], ["a", "--lines"], ["-n", "x"]]
)
def test_what_cannot_be_submitted_is_a_wrong_option(
    distilq: Command, worked: Worked, arguments: list[str]
) -> None:
    assert distilq("submit", *arguments, given="a").exit_code == 2
    assert worked.bodies(BATCH) == []


def test_lines_are_jobs_in_their_order(
    distilq: Command, store: MemoryStore, worked: Worked
) -> None:
    lines = [f"Number {n}" for n in range(1_100)] + [""]
    ids = distilq("submit", "--lines", given="\n".join(lines) + "\n").stdout.splitlines()
    assert [store.get(job_id).result[0][0].generated_text for job_id in ids] == [  # type: ignore[index]
        f"{line} and on" for line in lines
    ]
    assert len(worked.bodies(BATCH)) == 3


def test_a_key_makes_one_submission_of_two(distilq: Command) -> None:
    first, again, other = (
        distilq("submit", "--lines", "--idempotency-key", key, given="a\n" * 700).stdout
        for key in ("x", "x", "y")
    )
    assert first == again
    assert len({*first.splitlines(), *other.splitlines()}) == 1_400


# wait, status, cancel, ls


def test_wait_prints_the_texts_of_what_was_submitted(distilq: Command) -> None:
    ids = distilq("submit", "--lines", given="a\nb\n").stdout
    assert distilq("wait", "-", given=ids).stdout == "a and on\nb and on\n"
    jobs = [
        json.loads(line)
        for line in distilq("wait", *ids.split(), "--json").stdout.split("\n")
        if line
    ]
    assert [job["id"] for job in jobs] == ids.split()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> Command:
    """Nobody works for it."""
    return Command(monkeypatch, api(store, max_wait_s=1))


def test_a_wait_that_is_over_leaves_the_job_alone(idle: Command, store: MemoryStore) -> None:
    ids = idle("submit", "--lines", given="a\nb\n").stdout.split()
    said = idle("wait", *ids, "--timeout", "0.2")
    assert said.exit_code == 5
    assert [line.startswith("distilq: The job did not") for line in said.stderr.splitlines()] == [
        True,
        True,
    ]
    assert ids[0] in said.stderr
    assert {store.get(job_id).status.value for job_id in ids} == {"queued"}


def test_one_that_fails_does_not_hold_up_the_others(idle: Command, store: MemoryStore) -> None:
    good, bad, lost = (idle("submit", text).stdout.strip() for text in "abc")
    store.finish(good)
    store.fail(bad, e.GenerationFailed("no luck"))
    store.cancel(lost)
    said = idle("wait", "f" * 32, bad, lost, good)
    assert said.exit_code == 1
    assert said.stdout == "a and on\n"
    assert len(said.stderr.splitlines()) == 3
    assert idle("wait", lost, bad).exit_code == 4
    assert json.loads(idle("wait", bad, "--json").stdout)["status"] == "failed"


def test_status_tells_of_each_id(idle: Command, store: MemoryStore) -> None:
    first, second = (idle("submit", text).stdout.strip() for text in "ab")
    store.finish(first)
    said = idle("status", second, first)
    assert said.exit_code == 0
    head, queued, done = (line.split() for line in said.stdout.splitlines())
    assert head == ["id", "status", "priority", "submitted", "what"]
    assert (queued[:3], queued[4:]) == ([second, "queued", "normal"], ["position", "1"])
    assert done[:3] == [first, "succeeded", "normal"]
    said = idle("status", "f" * 32, first)
    assert said.exit_code == 1
    assert f"job {'f' * 32}: No job has this id" in said.stderr
    assert first in said.stdout


def test_cancel_takes_many_from_a_pipe(idle: Command, store: MemoryStore) -> None:
    ids = idle("submit", "--lines", given="a\nb\nc\n").stdout
    store.finish(ids.split()[2])
    said = idle("cancel", "-", given=ids)
    words = [line.split()[1] for line in said.stdout.splitlines()]
    assert (said.exit_code, words) == (0, ["canceled", "canceled", "succeeded"])
    assert idle("cancel", "f" * 32).exit_code == 1


def test_ls_lists_the_newest_of_a_status(idle: Command, store: MemoryStore) -> None:
    assert idle("ls").stdout == ""
    ids = idle("submit", "--lines", given="a\nb\nc\n").stdout.split()
    store.finish(ids[1])
    assert [line.split()[0] for line in idle("ls").stdout.splitlines()] == ["id", *ids[::-1]]
    lines = idle("ls", "--status", "queued", "--limit", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [ids[2]]
    assert idle("ls", "--status", "lost").exit_code == 2
