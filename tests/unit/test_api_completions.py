"""POST /v1/completions and /v1/models: OpenAI's contract, over a store in memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from distilq.access import ApiKey, Limits
from distilq.errors import DistilqError, GenerationFailed, InvalidToken, Poisoned, PromptTooLong
from distilq.events import Token
from distilq.jobs import Job, JobStatus, Outcome, Priority, Sequence, TokenLogprob, Usage
from distilq.parameters import Parameters
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(model="bundled")
    store.on_wait = store.finish
    return store


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, max_wait_s=1, model="bundled")


def complete(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/v1/completions", json={"model": "bundled", "prompt": "Once", **fields})


def only_job(store: MemoryStore) -> Job:
    (job,) = store.page(None, 10, None).jobs
    return job


def asked(client: FlaskClient, store: MemoryStore, **fields: Any) -> Parameters:
    """What the job of such a request was asked for."""
    response = complete(client, **fields)
    assert response.status_code == 200, response.text
    return only_job(store).parameters


def error_of(response: TestResponse) -> dict[str, Any]:
    assert response.mimetype == "application/json"
    error: dict[str, Any] = response.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def logged(*entries: tuple[str, float | None]) -> list[TokenLogprob]:
    return [
        TokenLogprob(
            id=n,
            text=text,
            logprob=logprob,
            top=[] if logprob is None else [TokenLogprob(id=9, text=" best", logprob=-0.5)],
        )
        for n, (text, logprob) in enumerate(entries)
    ]


def text(generated: str, reason: Any = "length", **more: Any) -> Sequence:
    return Sequence(
        generated_text=generated, finish_reason=reason, generated_tokens=2, seed=7, **more
    )


def finishing(store: MemoryStore, *sequences: list[Sequence]) -> Callable[[str], Any]:
    """A worker that ends a job with these texts."""
    tokens = sum(each.generated_tokens for of_prompt in sequences for each in of_prompt)
    usage = Usage(prompt_tokens=3, generated_tokens=tokens)
    return lambda job_id: store.finish(job_id, Outcome(result=list(sequences), usage=usage))


# The answer


def test_a_completion_has_openais_form(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = finishing(store, [text(" upon a", "eos_token")])
    response = complete(client)
    job = only_job(store)
    assert response.get_json() == {
        "id": f"cmpl-{job.id}",
        "object": "text_completion",
        "created": int(job.created_at.timestamp()),
        "model": "bundled",
        "choices": [{"text": " upon a", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    assert response.headers["X-Job-Id"] == job.id


@pytest.mark.parametrize(
    ("reason", "said"), [("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop")]
)
def test_why_a_text_ends(client: FlaskClient, store: MemoryStore, reason: str, said: str) -> None:
    store.on_wait = finishing(store, [text("a", reason)])
    assert complete(client).get_json()["choices"][0]["finish_reason"] == said


def test_choices_are_in_the_order_of_the_prompts(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = finishing(store, [text("a"), text("b")], [text("c"), text("d")])
    choices = complete(client, prompt=["x", "y"], n=2).get_json()["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]


def test_greedy_choices_are_one_text_that_is_drawn_once(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = finishing(store, [text("a")], [text("b")])
    answer = complete(client, prompt=["x", "y"], n=3, temperature=0).get_json()
    assert [c["text"] for c in answer["choices"]] == ["a", "a", "a", "b", "b", "b"]
    assert [c["index"] for c in answer["choices"]] == [*range(6)]
    assert answer["usage"]["completion_tokens"] == 12
    assert only_job(store).parameters.num_return_sequences == 1


def test_logprobs_are_lists_of_one_entry_per_token(client: FlaskClient, store: MemoryStore) -> None:
    entries = logged((" up", -1.0), ("on", -0.25))
    store.on_wait = finishing(store, [text(" upon", logprobs=entries)])
    (choice,) = complete(client, logprobs=1).get_json()["choices"]
    assert choice["logprobs"] == {
        "text_offset": [0, 3],
        "tokens": [" up", "on"],
        "token_logprobs": [-1.0, -0.25],
        "top_logprobs": [{" best": -0.5, " up": -1.0}, {" best": -0.5, "on": -0.25}],
    }


def test_an_echoed_prompt_has_logprobs_of_its_own(client: FlaskClient, store: MemoryStore) -> None:
    known, new = logged(("On", None), ("ce", -2.0)), logged((" upon", -1.0))
    echoed = text("Once upon", logprobs=new, prompt_logprobs=known)
    store.on_wait = finishing(store, [echoed])
    (choice,) = complete(client, logprobs=1, echo=True).get_json()["choices"]
    assert choice["text"] == "Once upon"
    assert choice["logprobs"]["token_logprobs"] == [None, -2.0, -1.0]
    assert choice["logprobs"]["top_logprobs"][0] is None
    assert choice["logprobs"]["text_offset"] == [0, 2, 4]


def test_an_end_of_text_keeps_its_place_among_the_logprobs(
    client: FlaskClient, store: MemoryStore
) -> None:
    # What scores a prompt leaves out the last entry, the one new token, whatever it is.
    known, new = logged(("", None), ("a", -2.0)), logged(("", -1.0))
    store.on_wait = finishing(store, [text("a", "eos_token", logprobs=new, prompt_logprobs=known)])
    (choice,) = complete(client, prompt=[[4, 5]], logprobs=1, echo=True, max_tokens=1).get_json()[
        "choices"
    ]
    assert choice["logprobs"]["tokens"] == ["", "a", ""]
    assert choice["logprobs"]["text_offset"] == [0, 0, 1]


def test_the_tokens_of_a_stop_string_are_not_shown(client: FlaskClient, store: MemoryStore) -> None:
    new = logged((" a", -1.0), ("b.", -1.0), ("end", -1.0))
    store.on_wait = finishing(store, [text(" ab", "stop_sequence", logprobs=new)])
    (choice,) = complete(client, logprobs=0, stop=".end").get_json()["choices"]
    assert choice["logprobs"]["tokens"] == [" a", "b."]
    assert choice["logprobs"]["text_offset"] == [0, 2]


# What is asked of the job


def test_defaults_are_openais(client: FlaskClient, store: MemoryStore) -> None:
    found = asked(client, store)
    assert found == Parameters(
        max_new_tokens=16, top_k=0, return_full_text=False, seed=found.seed, min_new_tokens=None
    )
    assert only_job(store).queue.priority is Priority.INTERACTIVE


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"max_tokens": 0}, {"max_new_tokens": 0}),
        ({"temperature": 0.5, "top_p": 0.25}, {"temperature": 0.5, "top_p": 0.25}),
        ({"temperature": 0}, {"do_sample": False, "temperature": 1.0}),
        ({"top_p": 0}, {"do_sample": False, "top_p": 1.0}),
        ({"n": 2}, {"num_return_sequences": 2, "best_of": None}),
        ({"n": 2, "best_of": 4}, {"num_return_sequences": 2, "best_of": 4}),
        ({"n": 2, "best_of": 2}, {"num_return_sequences": 2, "best_of": None}),
        ({"best_of": 4, "temperature": 0}, {"best_of": None, "num_return_sequences": 1}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"stop": []}, {"stop": ()}),
        ({"logprobs": 5}, {"logprobs": 5, "prompt_logprobs": None}),
        ({"logprobs": 0, "echo": True}, {"logprobs": 0, "prompt_logprobs": 0}),
        ({"echo": True}, {"return_full_text": True, "logprobs": None}),
        ({"seed": 5}, {"seed": 5}),
        ({"seed": -1}, {"seed": 2**64 - 1}),
        ({"logit_bias": {"50": -100, "7": 1.5}}, {"logit_bias": {"50": -100, "7": 1.5}}),
        (
            {"presence_penalty": 1, "frequency_penalty": -2.0},
            {"presence_penalty": 1.0, "frequency_penalty": -2.0},
        ),
        ({"user": "somebody", "stream_options": None}, {}),
    ],
    ids=str,
)
def test_every_field_reaches_the_job(
    client: FlaskClient, store: MemoryStore, fields: dict[str, Any], parameters: dict[str, Any]
) -> None:
    found = asked(client, store, **fields)
    assert {name: getattr(found, name) for name in parameters} == parameters


def test_null_is_as_good_as_left_out(client: FlaskClient, store: MemoryStore) -> None:
    names = (
        *("prompt", "suffix", "max_tokens", "temperature", "top_p", "n", "best_of", "stop"),
        *("logprobs", "echo", "seed", "logit_bias", "presence_penalty", "frequency_penalty"),
        *("user", "stream", "stream_options"),
    )
    found = asked(client, store, **dict.fromkeys(names))
    assert (found.max_new_tokens, found.temperature, found.do_sample) == (16, 1.0, True)


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1, 2], [3]], 2), ("", 1)],
    ids=str,
)
def test_prompts_of_every_form(
    client: FlaskClient, store: MemoryStore, prompt: Any, prompts: int
) -> None:
    response = complete(client, prompt=prompt)
    assert response.status_code == 200
    assert len(response.get_json()["choices"]) == prompts


# What is refused


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": 5}, "prompt", "must be a text, texts, token ids, or lists of token ids"),
        ({"prompt": []}, "prompt", "at least 1 item"),
        ({"prompt": ["a", 5]}, "prompt[1]", "must be a string"),
        ({"prompt": [[1], []]}, "prompt[1]", "at least 1 item"),
        ({"prompt": [1, -1]}, "prompt[1]", ">= 0"),
        ({"prompt": ["a"] * 129}, "prompt", "at most 128 items"),
        ({"suffix": "end"}, "suffix", "not offered"),
        ({"max_tokens": 1025}, "max_tokens", ">= 0 and <= 1024"),
        ({"max_tokens": "5"}, "max_tokens", "must be an integer"),
        ({"temperature": 2.5}, "temperature", ">= 0 and <= 2"),
        ({"temperature": -1}, "temperature", ">= 0 and <= 2"),
        ({"top_p": 1.5}, "top_p", ">= 0 and <= 1"),
        ({"n": 0}, "n", ">= 1 and <= 64"),
        ({"n": 3, "best_of": 2}, "best_of", "at least n"),
        ({"n": 64, "prompt": ["a", "b", "c"]}, "n", "192, at most 128"),
        ({"best_of": 2, "stream": True}, "best_of", "only at the end"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4 items"),
        ({"stop": ""}, "stop", "at least 1 character"),
        ({"stop": 5}, "stop", "must be a string, or up to 4"),
        ({"stop": ["a", 5]}, "stop[1]", "must be a string"),
        ({"logprobs": 6}, "logprobs", ">= 0 and <= 5"),
        ({"logprobs": True}, "logprobs", "must be an integer"),
        ({"echo": "yes"}, "echo", "true or false"),
        ({"seed": 2**64}, "seed", f"< {2**64}"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a", "pattern"),
        ({"logit_bias": {"1": 101}}, "logit_bias[1]", "<= 100"),
        ({"presence_penalty": 2.5}, "presence_penalty", ">= -2 and <= 2"),
        ({"frequency_penalty": -2.5}, "frequency_penalty", ">= -2 and <= 2"),
        ({"user": 5}, "user", "must be a string"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only for requests"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "no such field"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "not offered",
        ),
        ({"top_k": 5}, "top_k", "no such field"),
        ({"model": None}, "model", "must be a string"),
    ],
    ids=str,
)
def test_a_bad_field_is_named(
    client: FlaskClient, store: MemoryStore, fields: dict[str, Any], param: str, words: str
) -> None:
    response = complete(client, **fields)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert error["message"].startswith(param)
    assert store.page(None, 10, None).jobs == []


def test_a_model_has_to_be_named(client: FlaskClient) -> None:
    error = error_of(client.post("/v1/completions", json={"prompt": "a"}))
    assert (error["param"], error["code"]) == ("model", "missing")


def test_another_model_is_not_found(client: FlaskClient, store: MemoryStore) -> None:
    response = complete(client, model="gpt-4")
    assert response.status_code == 404
    error = error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert error["code"] == "model_not_found"
    assert "gpt-4" in error["message"]
    assert store.page(None, 10, None).jobs == []


@pytest.mark.parametrize("name", ["distilgpt2", "distilbert/distilgpt2"])
@pytest.mark.parametrize("served", ["distilgpt2", "distilbert/distilgpt2"])
def test_distilgpt2_has_two_names(store: MemoryStore, name: str, served: str) -> None:
    client = make_client(store, model=served)
    assert complete(client, model=name).get_json()["model"] == name
    assert client.get(f"/v1/models/{name}").get_json()["id"] == served


def test_what_a_worker_made_of_auto_is_a_name_too(store: MemoryStore) -> None:
    client = make_client(store, model="auto")
    assert complete(client, model="fake").status_code == 404
    store.alive = [FAKE_WORKER]
    assert complete(client, model="fake").status_code == 200
    assert complete(client, model="auto").status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ("{", {}, 400, "malformed_json"),
        ("[]", {}, 400, "wrong_type"),
        ('{"model": "a", "model": "b"}', {}, 400, "malformed_json"),
        ("{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (json.dumps({"model": "bundled", "prompt": "a"}), {"Idempotency-Key": '"'}, 400, "invalid"),
        (json.dumps({"prompt": "a" * 2000}), {}, 413, "payload_too_large"),
    ],
    ids=["broken", "no object", "equal keys", "other type", "idempotency", "too large"],
)
def test_a_request_that_is_not_read_is_refused_in_openais_words(
    store: MemoryStore, body: str, headers: dict[str, str], status: int, code: str
) -> None:
    client = make_client(store, max_body_bytes=1024, model="bundled")
    sent = {"Content-Type": "application/json", **headers}
    response = client.post("/v1/completions", data=body, headers=sent)
    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["type"]) == (code, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/no/such", 404),
        ("GET", "/v1/completions/x", 404),
    ],
)
def test_addresses_and_methods_that_are_not_there(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == status
    assert error_of(response)["message"]


@pytest.mark.parametrize("path", ["/v1/modelsx", "/v1/jobs/x", "/completions"])
def test_other_routes_keep_their_own_errors(client: FlaskClient, path: str) -> None:
    assert client.get(path).mimetype == "application/problem+json"


def test_keys_and_what_they_may(store: MemoryStore) -> None:
    ring = MemoryRing()
    token = ring.create(ApiKey(id="a", name="a", limits=Limits(rate_per_minute=1)))
    client = make_client(store, ring, model="bundled")
    for headers in ({}, {"Authorization": "Bearer dq_other"}):
        for response in (
            client.get("/v1/models", headers=headers),
            client.get("/v1/models/bundled", headers=headers),
            client.post("/v1/completions", json={}, headers=headers),
        ):
            assert response.status_code == 401
            assert "WWW-Authenticate" in response.headers
            assert error_of(response)["code"] == "invalid_api_key"
    mine, body = {"Authorization": f"Bearer {token}"}, {"model": "bundled", "prompt": "a"}
    assert client.post("/v1/completions", json=body, headers=mine).status_code == 200
    response = client.post("/v1/completions", json=body, headers=mine)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert "RateLimit" in response.headers
    error = error_of(response)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")


def test_a_full_queue_is_429_and_says_when_to_come_again() -> None:
    client = make_client(MemoryStore(max_queued_jobs=0), model="bundled")
    response = complete(client)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert error_of(response)["code"] == "queue_full"
    assert "X-Should-Retry" not in response.headers


def test_a_store_that_is_away_is_503(client: FlaskClient, store: MemoryStore) -> None:
    store.down = True
    response = complete(client)
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    assert error_of(response)["type"] == "server_error"


@pytest.mark.parametrize(
    ("error", "status", "code", "param", "again"),
    [
        (PromptTooLong("1100 tokens"), 400, "context_length_exceeded", "prompt", False),
        (InvalidToken("token 9"), 400, "invalid_token", None, False),
        (GenerationFailed("broken"), 500, "generation_failed", None, True),
        (Poisoned("5 deaths"), 500, "poisoned", None, False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_job_that_fails(
    client: FlaskClient,
    store: MemoryStore,
    error: DistilqError,
    status: int,
    code: str,
    param: str | None,
    again: bool,
) -> None:
    store.on_wait = lambda job_id: store.fail(job_id, error)
    response = complete(client)
    found = error_of(response)
    assert response.status_code == status
    assert (found["code"], found["param"]) == (code, param)
    assert error.detail in found["message"]
    assert response.headers["X-Job-Id"] == only_job(store).id
    assert (response.headers.get("X-Should-Retry") == "false") is not again


def test_a_job_that_somebody_cancels_is_not_asked_for_again(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = store.cancel
    response = complete(client)
    assert response.status_code == 409
    assert response.headers["X-Should-Retry"] == "false"


def test_who_waits_too_long_has_the_job_canceled(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = lambda job_id: None
    response = complete(client)
    assert response.status_code == 504
    assert error_of(response)["code"] == "not_finished_in_time"
    assert only_job(store).status is JobStatus.CANCELED


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_has_the_job_canceled(store: MemoryStore, stream: bool) -> None:
    ours, theirs = socket.socketpair()
    store.on_wait = lambda job_id: theirs.close()
    client = make_client(store, max_wait_s=5, model="bundled")
    body = {"model": "bundled", "prompt": "a", "stream": stream}
    with ours:
        client.post("/v1/completions", json=body, environ_overrides={"gunicorn.socket": ours})
    assert only_job(store).status is JobStatus.CANCELED


def test_the_request_id_is_in_the_header_that_the_client_shows(client: FlaskClient) -> None:
    response = complete(client, n=0)
    assert response.headers["x-request-id"]


# Streams


def chunks(response: TestResponse) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.mimetype == "text/event-stream"
    *events, rest = response.text.split("\n\n")
    assert rest == ""
    return [
        data if (data := event.removeprefix("data: ")) == "[DONE]" else json.loads(data)
        for event in events
    ]


def streaming(
    store: MemoryStore, tokens: list[Token], *sequences: list[Sequence]
) -> Callable[[str], Any]:
    """A worker that gives these tokens and then ends the job."""
    finish = finishing(store, *sequences)

    def play(job_id: str) -> None:
        store.start(job_id)
        store.emit(job_id, tokens)
        finish(job_id)

    return play


UPON = [
    Token(0, 0, 0, 5, " up"),
    Token(0, 0, 1, 6, ""),
    Token(0, 0, 2, 7, "on\u2028", finish_reason="eos_token"),
]


def test_a_stream_has_a_chunk_per_token_that_gives_text(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = streaming(store, UPON, [text(" upon\u2028", "eos_token")])
    response = complete(client, stream=True)
    job = only_job(store)
    base = {
        "id": f"cmpl-{job.id}",
        "object": "text_completion",
        "created": int(job.created_at.timestamp()),
        "model": "bundled",
    }
    assert chunks(response) == [
        base | {"choices": [{"text": t, "index": 0, "logprobs": None, "finish_reason": reason}]}
        for t, reason in ((" up", None), ("on\u2028", "stop"))
    ] + ["[DONE]"]
    assert response.text.isascii()
    assert response.headers["X-Job-Id"] == job.id
    assert (job.stream, job.queue.priority) == (True, Priority.INTERACTIVE)


def test_usage_comes_last_and_only_if_asked_for(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = streaming(store, UPON, [text(" upon\u2028", "eos_token")])
    *some, last, done = chunks(
        complete(client, stream=True, stream_options={"include_usage": True})
    )
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert [chunk["usage"] for chunk in some] == [None, None]


def test_an_attempt_that_follows_repeats_nothing(client: FlaskClient, store: MemoryStore) -> None:
    again = [*UPON[:2], *UPON]
    store.on_wait = streaming(store, again, [text(" upon\u2028", "eos_token")])
    *some, done = chunks(complete(client, stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in some) == " upon\u2028"
    assert done == "[DONE]"


def test_an_attempt_that_draws_otherwise_is_an_error(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = streaming(store, [UPON[0], Token(0, 0, 0, 9, " x")], [text(" x")])
    last = chunks(complete(client, stream=True))[-1]
    assert last["error"]["code"] == "generation_failed"


def test_each_choice_of_a_stream_ends_once(client: FlaskClient, store: MemoryStore) -> None:
    tokens = [
        Token(prompt, sequence, 0, 5, f"{prompt}{sequence}", finish_reason="length")
        for prompt in range(2)
        for sequence in range(2)
    ]
    result = [[text("00"), text("01")], [text("10"), text("11")]]
    store.on_wait = streaming(store, tokens, *result)
    *some, _ = chunks(complete(client, stream=True, prompt=["a", "b"], n=2))
    found = [(c["index"], c["text"], c["finish_reason"]) for [c] in (s["choices"] for s in some)]
    assert found == [
        (0, "00", "length"),
        (1, "01", "length"),
        (2, "10", "length"),
        (3, "11", "length"),
    ]


def test_a_greedy_stream_tells_all_choices_the_same(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = streaming(store, UPON, [text(" upon\u2028", "eos_token")])
    *some, _ = chunks(complete(client, stream=True, n=2, temperature=0))
    assert [chunk["choices"][0]["index"] for chunk in some] == [0, 1, 0, 1]


def test_an_echoed_text_comes_first(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = streaming(store, UPON, [text("Once upon\u2028", "eos_token")])
    *some, _ = chunks(complete(client, stream=True, echo=True))
    assert [chunk["choices"][0]["text"] for chunk in some] == ["Once", " up", "on\u2028"]


def test_nothing_new_is_an_end_all_the_same(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = streaming(store, [], [text("Once")])
    *some, done = chunks(complete(client, stream=True, echo=True, max_tokens=0))
    found = [(c["text"], c["finish_reason"]) for [c] in (s["choices"] for s in some)]
    assert found == [("Once", None), ("", "length")]
    assert done == "[DONE]"


@pytest.mark.parametrize("fields", [{"prompt": [4, 5]}, {"logprobs": 1}], ids=str)
def test_what_only_the_worker_knows_of_a_prompt_comes_at_the_end(
    client: FlaskClient, store: MemoryStore, fields: dict[str, Any]
) -> None:
    known, new = logged(("Once", None)), logged((" up", -1.0), ("on\u2028", -1.0))
    more = {"logprobs": new, "prompt_logprobs": known} if "logprobs" in fields else {}
    store.on_wait = streaming(store, UPON, [text("Once upon\u2028", "eos_token", **more)])
    [chunk, _] = chunks(complete(client, stream=True, echo=True, **fields))
    (choice,) = chunk["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("Once upon\u2028", "stop")
    if more:
        assert choice["logprobs"]["tokens"] == ["Once", " up", "on\u2028"]


def test_streamed_logprobs_joined_are_those_of_the_whole(
    client: FlaskClient, store: MemoryStore
) -> None:
    entries = logged(
        (" a", -1.0),
        ("\N{REPLACEMENT CHARACTER}", -2.0),
        ("\N{REPLACEMENT CHARACTER}", -3.0),
        ("b", -1.0),
        (".", -1.0),
    )
    given = [" a", "", "é", "b", ""]
    tokens = [
        Token(0, 0, n, n, g, "stop_sequence" if n == 4 else None, logprob=entry.model_dump())
        for n, (g, entry) in enumerate(zip(given, entries, strict=True))
    ]
    store.on_wait = streaming(store, tokens, [text(" aéb", "stop_sequence", logprobs=entries)])
    fields = {"logprobs": 1, "stop": "."}
    *some, _ = chunks(complete(client, stream=True, **fields))
    (whole,) = complete(client, **fields).get_json()["choices"]
    joined: dict[str, list[Any]] = {}
    for chunk in some:
        for name, values in chunk["choices"][0]["logprobs"].items():
            joined.setdefault(name, []).extend(values)
    assert joined == whole["logprobs"]
    assert joined["text_offset"] == [0, 2, 2, 3]


def test_a_job_that_fails_ends_its_stream_with_an_error(
    client: FlaskClient, store: MemoryStore
) -> None:
    def play(job_id: str) -> None:
        store.start(job_id)
        store.emit(job_id, UPON[:1])
        store.fail(job_id, GenerationFailed("no luck"))

    store.on_wait = play
    first, last = chunks(complete(client, stream=True))
    assert first["choices"][0]["text"] == " up"
    assert last["error"] == {
        "message": "The engine failed on this job: no luck",
        "type": "server_error",
        "param": None,
        "code": "generation_failed",
    }


def test_a_server_that_stops_does_not_end_a_stream_as_if_it_were_whole(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = lambda job_id: None
    client.application.extensions["distilq.stopping"] = lambda: True
    (last,) = chunks(complete(client, stream=True))
    assert last["error"]["type"] == "server_error"
    assert only_job(store).status is JobStatus.CANCELED


def test_a_stream_that_finds_no_thread_leaves_no_job(store: MemoryStore) -> None:
    client = make_client(store, api_threads=1, model="bundled")
    inner: list[TestResponse] = []

    def stream_another(job_id: str) -> None:
        inner.append(complete(client.application.test_client(), stream=True))
        store.finish(job_id)

    store.on_wait = stream_another
    assert complete(client).status_code == 200
    assert inner[0].status_code == 503
    assert error_of(inner[0])["code"] == "too_many_waiting"
    states = sorted(job.status.value for job in store.page(None, 10, None).jobs)
    assert states == ["canceled", "succeeded"]


# Models


def test_the_models_are_those_of_live_workers(client: FlaskClient, store: MemoryStore) -> None:
    waiting = {"id": "bundled", "object": "model", "created": 0, "owned_by": "distilq"}
    assert client.get("/v1/models").get_json() == {"object": "list", "data": [waiting]}
    store.alive = [FAKE_WORKER, FAKE_WORKER.model_copy(update={"model": "some/gpt2"})]
    started = int(FAKE_WORKER.started_at.timestamp())
    found = client.get("/v1/models").get_json()["data"]
    assert found == [
        {"id": "fake", "object": "model", "created": started, "owned_by": "distilq"},
        {"id": "some/gpt2", "object": "model", "created": started, "owned_by": "some"},
    ]
    for each in found:
        assert client.get(f"/v1/models/{each['id']}").get_json() == each


def test_a_directory_is_a_name_too(store: MemoryStore) -> None:
    client = make_client(store, model="/some/directory")
    assert client.get("/v1/models/%2Fsome%2Fdirectory").get_json()["id"] == "/some/directory"


def test_a_model_that_is_not_served_is_not_found(client: FlaskClient) -> None:
    response = client.get("/v1/models/gpt-4")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_sent_twice_with_one_key_is_one_job(
    client: FlaskClient, store: MemoryStore, stream: bool
) -> None:
    store.on_wait = lambda job_id: None if store.get(job_id).status.final else store.finish(job_id)
    body = {"model": "bundled", "prompt": "a", "stream": stream}
    sent = [
        client.post("/v1/completions", json=body, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert [response.status_code for response in sent] == [200, 200]
    assert len({response.headers["X-Job-Id"] for response in sent}) == 1
    assert "Idempotency-Replayed" in sent[1].headers
    assert only_job(store).status.final
