"""`distilq batch` over an API in memory."""

from __future__ import annotations

import fcntl
import io
import json
from pathlib import Path
from typing import Any

import pytest

from distilq import errors as e
from distilq.cli import batch as module
from distilq.cli.batch_lines import numbered
from distilq.cli.batch_openai import job_of_completion
from distilq.jobs import JobStatus
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.cli_runner import Command, Worked, finish
from tests.unit.client_twins import Faulty, api, no_pauses, refused

BATCH = "/v1/jobs:batch"


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


def written(path: Path, *lines: Any) -> Path:
    """A file of these lines, as JSON unless they are bytes."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(each + b"\n" for each in raw))
    return path


def rows(text: str | Path) -> list[dict[str, Any]]:
    text = text.read_text() if isinstance(text, Path) else text
    return [json.loads(line) for line in text.splitlines()]


def test_every_form_of_a_line_is_a_job(distilq: Command, worked: Worked, tmp_path: Path) -> None:
    completion = {"model": "distilgpt2", "prompt": "e", "max_tokens": 3, "n": 2}
    worked._store.alive = [FAKE_WORKER.model_copy(update={"model": "distilbert/distilgpt2"})]
    source = written(
        tmp_path / "in",
        "a",
        {"prompt": "b", "top_k": 3, "custom_id": "B", "priority": "normal"},
        {"inputs": "c", "parameters": {"seed": 1}, "top_p": 0.5},
        b"",
        {"custom_id": "D", "method": "POST", "url": "/v1/jobs", "body": {"inputs": ["d", "dd"]}},
        {"custom_id": "E", "method": "POST", "url": "/v1/completions", "body": completion},
    )
    said = distilq("batch", str(source), "--ordered", "--top-k", "9")
    assert said.exit_code == 0, said.stderr
    (body,) = worked.bodies(BATCH)
    options = {"priority": "bulk", "result_ttl_s": 900}
    assert body["jobs"] == [
        {"inputs": "a", "parameters": {"top_k": 9}, **options},
        {"inputs": "b", "parameters": {"top_k": 3}, **options, "priority": "normal"},
        {"inputs": "c", "parameters": {"top_k": 9, "seed": 1, "top_p": 0.5}, **options},
        {"inputs": ["d", "dd"], "parameters": {"top_k": 9}, **options},
        {
            "inputs": "e",
            "parameters": {
                **{"top_k": 0, "max_new_tokens": 3, "num_return_sequences": 2},
                "return_full_text": False,
            },
            **options,
        },
    ]
    told = rows(said.stdout)
    assert [(row["line"], row.get("custom_id")) for row in told] == [
        *((1, None), (2, "B"), (3, None), (5, "D"), (6, "E")),
    ]
    assert told[0]["generated_text"] == "a and on"
    assert told[3]["texts"] == [["d and on"], ["dd and on"]]
    assert told[4]["texts"] == ["e and on", "e and on"]
    assert said.stderr.startswith("distilq: 5 lines, 0 failed; ")


WRONG: list[tuple[Any, str, str]] = [
    (b"{torn", "malformed_json", "Expecting property name"),
    (b"\xff", "malformed_json", "utf-8"),
    (b"NaN", "malformed_json", "NaN"),
    (b"[" * 100_000, "malformed_json", "nested too deeply"),
    (b'"' + b"x" * 5_000 + b'"', "payload_too_large", "4,096"),
    (7, "invalid_parameters", "must be a string, or an object"),
    ({"text": "a"}, "invalid_parameters", 'must have a "prompt"'),
    ({"prompt": "a", "inputs": "a"}, "invalid_parameters", 'must have a "prompt"'),
    ({"prompt": "a", "parameters": 3}, "invalid_parameters", "#/parameters"),
    ({"prompt": "a", "custom_id": 3}, "invalid_parameters", "#/custom_id"),
    ({"prompt": "a", "top_p": 2}, "invalid_parameters", "#/parameters/top_p"),
    ({"prompt": "\ud800"}, "malformed_json", ""),
    ({"prompt": None}, "invalid_parameters", "#/inputs"),
    ({"url": "/v1/jobs", "body": {"prompt": "a"}}, "invalid_parameters", 'must have "inputs"'),
    ({"url": "/v1/chat", "body": {}}, "invalid_parameters", "#/url"),
    ({"method": "GET", "url": "/v1/jobs", "body": {}}, "invalid_parameters", "#/method"),
    ({"url": "/v1/jobs", "body": 3}, "invalid_parameters", "#/body"),
    ({"url": "/v1/completions", "body": {"model": ["x"]}}, "model_not_found", "not served"),
    ({"url": "/v1/completions", "body": {"suffix": "x"}}, "invalid_parameters", "#/body/suffix"),
]


@pytest.mark.parametrize("options", [[], ["--ordered"]])
def test_lines_that_are_wrong_are_rows_and_the_rest_runs(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, tmp_path: Path, options: list[str]
) -> None:
    transport = api(store, max_body_bytes=4_096)
    distilq = Command(monkeypatch, Worked(transport, store, finish))
    lines = [line for wrong, _, _ in WRONG for line in ("good", wrong)]
    # Too long for a line is also what is nested for ever.
    lines[7] = b"[" * 4_000
    source, out = written(tmp_path / "in", *lines), tmp_path / "out"
    said = distilq("batch", str(source), "-o", str(out), *options)
    assert said.exit_code == 3
    assert f"{len(lines)} lines, {len(WRONG)} failed" in said.stderr
    told = {row["line"]: row for row in rows(out)}
    assert sorted(told) == [*range(1, len(lines) + 1)]
    if options:
        assert [*told] == sorted(told)
    for number, (_, code, words) in enumerate(WRONG):
        assert told[2 * number + 1]["generated_text"] == "good and on"
        problem = told[2 * number + 2]["error"]
        assert problem["type"].endswith(code), problem
        assert words in json.dumps(problem, ensure_ascii=False).replace('\\"', '"')


def test_jobs_that_fail_are_rows(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, tmp_path: Path
) -> None:
    def play(store: MemoryStore, job_id: str) -> None:
        if store._records[job_id].request.inputs == "b":
            store.fail(job_id, e.PromptTooLong("2,000 tokens"))
        else:
            store.finish(job_id)

    distilq = Command(monkeypatch, Worked(api(store), store, play))
    said = distilq("batch", str(written(tmp_path / "in", "a", "b", "c")), "--json")
    assert said.exit_code == 3
    told = {row["line"]: row for row in rows(said.stdout)}
    assert told[2]["error"]["detail"] == "2,000 tokens"
    assert told[3]["generated_text"] == "c and on"
    assert json.loads(said.stderr)["failed"] == 1


def test_what_is_there_is_not_done_again(distilq: Command, worked: Worked, tmp_path: Path) -> None:
    source = written(tmp_path / "in", *(f"Number {n}" for n in range(1, 101)))
    out = tmp_path / "out"
    done = b"".join(b'{"line": %d, "generated_text": "x"}\n' % n for n in range(1, 90, 2))
    out.write_bytes(done + b'{"line": 2, "generated_te')
    said = distilq("batch", str(source), "-o", str(out))
    assert said.exit_code == 0
    assert "100 lines, 0 failed, 45 of them from before" in said.stderr
    assert out.read_bytes().startswith(done)
    assert sorted(row["line"] for row in rows(out)) == [*range(1, 101)]
    assert sum(len(body["jobs"]) for body in worked.bodies(BATCH)) == 55
    before = out.read_bytes()
    assert distilq("batch", str(source), "-o", str(out)).exit_code == 0
    assert out.read_bytes() == before


def test_failures_from_before_count(distilq: Command, tmp_path: Path) -> None:
    out = written(tmp_path / "out", {"line": 1, "error": {}})
    said = distilq("batch", str(written(tmp_path / "in", "a", "b")), "-o", str(out))
    assert said.exit_code == 3
    assert "2 lines, 1 failed, 1 of them from before" in said.stderr


@pytest.mark.parametrize("content", ["a diary\n", '{"id": 1}\n', "[1]\n", '{"line": null}\n'])
def test_a_file_of_something_else_is_left_alone(
    distilq: Command, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "out"
    out.write_text(content)
    said = distilq("batch", str(written(tmp_path / "in", "a")), "-o", str(out))
    assert said.exit_code == 1
    assert "give another -o" in said.stderr
    assert out.read_text() == content


def test_one_output_has_one_writer(distilq: Command, tmp_path: Path) -> None:
    source, out = written(tmp_path / "in", "a"), tmp_path / "out"
    with out.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = distilq("batch", str(source), "-o", str(out))
    assert said.exit_code == 1
    assert "is written by another" in said.stderr


def test_files_that_cannot_be_are_told(distilq: Command, tmp_path: Path) -> None:
    source = written(tmp_path / "in", "a")
    for arguments, words in [
        ([str(tmp_path / "none")], "cannot read"),
        ([str(source), "-o", str(tmp_path / "no" / "out")], "cannot write to"),
        ([str(source), "-o", str(source)], "would be written over"),
    ]:
        said = distilq("batch", *arguments)
        assert said.exit_code == 1
        assert words in said.stderr
        assert len(said.stderr.splitlines()) == 1
    assert source.read_text() == '"a"\n'


def test_a_pipe_is_as_good_as_a_file(distilq: Command) -> None:
    said = distilq("batch", "-", given=b'\xef\xbb\xbf"a"\r\n\n"b"')
    assert [row["line"] for row in rows(said.stdout)] == [1, 3]
    assert distilq("batch", "-").exit_code == 0


def test_order_holds_among_lines_in_error(
    monkeypatch: pytest.MonkeyPatch, distilq: Command, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 5)
    lines = [n if n % 20 else f"Number {n}" for n in range(200)]
    said = distilq("batch", str(written(tmp_path / "in", *lines)), "--ordered", "--in-flight", "8")
    assert [row["line"] for row in rows(said.stdout)] == [*range(1, 201)]


def test_a_service_that_goes_away_keeps_what_is_done(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, tmp_path: Path
) -> None:
    source = written(tmp_path / "in", *(f"Number {n}" for n in range(40)))
    out = tmp_path / "out"
    worked = Worked(api(store), store, finish)
    # It is there for 2 looks at itself, 4 batches of 2 lines, 5 looks at jobs, and a little more.
    distilq = Command(monkeypatch, Faulty(worked, *[None] * 14, *[refused] * 50))
    said = distilq("batch", str(source), "-o", str(out), "--in-flight", "8")
    assert said.exit_code == 1
    assert "the same command goes on with the rest" in said.stderr
    assert 0 < len(rows(out)) < 40
    assert Command(monkeypatch, worked)("batch", str(source), "-o", str(out)).exit_code == 0
    assert sorted(row["line"] for row in rows(out)) == [*range(1, 41)]


def test_ctrl_c_cancels_what_runs_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, tmp_path: Path
) -> None:
    def interrupt(store: MemoryStore, job_id: str) -> None:
        raise KeyboardInterrupt

    distilq = Command(monkeypatch, api(store))
    monkeypatch.setattr(store, "on_wait", lambda job_id: interrupt(store, job_id))
    source = written(tmp_path / "in", "a", "b", "c")
    said = distilq("batch", str(source), "-o", str(tmp_path / "out"))
    assert said.exit_code == 130
    assert "0 lines, 0 failed" in said.stderr
    assert "goes on with the rest" in said.stderr
    assert len(store.page(JobStatus.CANCELED, 9, None).jobs) == 3


def test_lines_are_read_in_bounded_memory() -> None:
    file = io.BytesIO(b"a\n" + b"x" * 1_000 + b"\n\n" + b"y" * 10 + b"\n" + b"z" * 25)
    found = list(numbered(file, 10))
    assert [number for number, _ in found] == [1, 2, 4, 5]
    assert found[0][1] == b"a\n"
    assert [len(raw) for _, raw in found[1:]] == [11, 11, 11]


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({}, {"max_new_tokens": 16, "top_k": 0, "return_full_text": False}),
        (
            {"stop": "x", "seed": -1, "echo": True, "logprobs": 2, "user": "me", "best_of": None},
            {
                **{"max_new_tokens": 16, "top_k": 0, "return_full_text": True, "stop": ["x"]},
                **{"seed": 2**64 - 1, "logprobs": 2, "prompt_logprobs": 2},
            },
        ),
        (
            {"temperature": 0, "n": 3, "best_of": 4, "top_p": 0.5},
            {"max_new_tokens": 16, "top_k": 0, "return_full_text": False, "do_sample": False},
        ),
    ],
)
def test_a_completion_means_what_the_route_makes_of_it(
    body: dict[str, Any], parameters: dict[str, Any]
) -> None:
    from api.openai.schemas import CompletionRequest

    whole = {"model": "m", "prompt": "a", **body}
    assert job_of_completion(whole, frozenset({"m"})) == {"inputs": "a", "parameters": parameters}
    known = CompletionRequest.model_validate(whole).parameters
    given = known.model_validate({**parameters, "stop": tuple(parameters.get("stop", ()))})
    assert given == known
