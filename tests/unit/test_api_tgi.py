"""The routes of Text Generation Inference, over a store in memory."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from flask.testing import FlaskClient

from distilq import errors as e
from distilq.events import Token
from distilq.jobs import JobStatus, Outcome, Priority, Sequence, TokenLogprob, Usage
from distilq.parameters import Parameters
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.api_client import make_client

#: ids, what each reads as alone, what each gives of the text; the third ends it.
IDS = (5, 6, 0)
ALONE = (" caf", "\N{REPLACEMENT CHARACTER}", "")
GIVEN = (" caf", "é", "")


def likelihood(number: int) -> TokenLogprob:
    other = TokenLogprob(id=9, text=" x", logprob=-2.0)
    return TokenLogprob(id=IDS[number], text=ALONE[number], logprob=-float(number), top=[other])


def tokens(finish: str = "eos_token", stop: str | None = None) -> list[Token]:
    last = len(IDS) - 1
    return [
        Token(
            input=0,
            sequence=0,
            index=number,
            id=IDS[number],
            text=GIVEN[number],
            finish_reason=finish if number == last else None,
            stop=stop if number == last else None,
            logprob=likelihood(number).model_dump(),
        )
        for number in range(len(IDS))
    ]


def sequence(**fields: Any) -> Sequence:
    known: dict[str, Any] = {
        "generated_text": "".join(GIVEN),
        "finish_reason": "eos_token",
        "generated_tokens": len(IDS),
        "seed": 7,
        "logprobs": [likelihood(number) for number in range(len(IDS))],
    }
    return Sequence(**{**known, **fields})


def outcome(*sequences: Sequence) -> Outcome:
    return Outcome(
        result=[list(sequences or (sequence(),))],
        usage=Usage(prompt_tokens=4, generated_tokens=len(IDS)),
    )


class Played(MemoryStore):
    """With a worker that gives the same text to whoever waits."""

    def __init__(self) -> None:
        super().__init__()
        self.given = tokens()
        self.outcome = outcome()
        self.on_wait = self.play

    def play(self, job_id: str) -> None:
        if self.get(job_id).status is JobStatus.QUEUED:
            job = self.start(job_id)
            if job.stream:
                self.emit(job_id, self.given)
            self.finish(job_id, self.outcome)

    @property
    def job(self) -> Any:
        (job,) = self.page(None, 10, None).jobs
        return job


@pytest.fixture
def store() -> Played:
    return Played()


@pytest.fixture
def client(store: Played) -> FlaskClient:
    return make_client(store, max_wait_s=1)


def streamed(text: str) -> list[dict[str, Any]]:
    assert text.isascii()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def ask(client: FlaskClient, path: str = "/generate", **parameters: Any) -> Any:
    return client.post(path, json={"inputs": "Once", "parameters": parameters})


# What is asked for


def test_nothing_asked_for_is_greedy_a_hundred_tokens_and_the_new_text_alone(
    client: FlaskClient, store: Played
) -> None:
    assert client.post("/generate", json={"inputs": "Once"}).status_code == 200
    asked = store.job.parameters
    assert (asked.do_sample, asked.max_new_tokens, asked.return_full_text) == (False, 100, False)
    assert (asked.temperature, asked.top_k, asked.top_p, asked.typical_p) == (1.0, 0, 1.0, 1.0)
    assert store.job.queue.priority is Priority.INTERACTIVE


@pytest.mark.parametrize(
    "given",
    [{"do_sample": True}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"typical_p": 0.9}],
)
def test_any_parameter_of_sampling_turns_it_on(
    client: FlaskClient, store: Played, given: dict[str, Any]
) -> None:
    ask(client, **given)
    assert store.job.parameters.do_sample


def test_every_parameter_arrives(client: FlaskClient, store: Played) -> None:
    ask(
        client,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        typical_p=0.8,
        repetition_penalty=1.2,
        frequency_penalty=0.3,
        max_new_tokens=12,
        seed=7,
        stop=["x", "y"],
        truncate=9,
        return_full_text=True,
    )
    assert store.job.parameters == Parameters(
        do_sample=True,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        typical_p=0.8,
        repetition_penalty=1.2,
        frequency_penalty=0.3,
        max_new_tokens=12,
        seed=7,
        stop=("x", "y"),
        truncate_prompt_tokens=9,
        return_full_text=True,
    )


def test_what_clients_send_without_meaning_it_is_as_good_as_left_out(
    client: FlaskClient, store: Played
) -> None:
    names = ("adapter_id", "grammar", "best_of", "max_new_tokens", "stop", "top_n_tokens", "seed")
    nulls: dict[str, Any] = dict.fromkeys(names)
    response = ask(client, watermark=False, **nulls)
    assert response.status_code == 200
    assert store.job.parameters.max_new_tokens == 100
    assert ask(client, watermark=None).status_code == 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"watermark": True}, "`parameters/watermark` watermarks are not offered"),
        ({"grammar": {"type": "regex", "value": "a"}}, "`parameters/grammar` grammars are not"),
        ({"adapter_id": "x"}, "`parameters/adapter_id` adapters are not offered"),
        ({"max_new_tokens": 0}, "`parameters/max_new_tokens` must be >= 1"),
        ({"temperature": 0}, "`parameters/temperature` must be > 0 and <= 100"),
        ({"top_p": 1.5}, "`parameters/top_p` must be > 0 and <= 1"),
        ({"best_of": 2}, "`parameters/best_of` more than 1 needs do_sample"),
        ({"truncate": 0}, "`parameters/truncate` must be >= 1"),
        ({"tempertaure": 1}, "`parameters/tempertaure` there is no such field"),
        ({"stop": "x"}, "`parameters/stop` must be an array"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/generate", "/generate_stream"])
def test_what_cannot_be_had_is_refused_by_name(
    client: FlaskClient, store: Played, path: str, given: dict[str, Any], said: str
) -> None:
    response = ask(client, path, **given)
    assert response.status_code == 422
    assert response.get_json()["error_type"] == "validation"
    assert said in response.get_json()["error"]
    assert store.page(None, 10, None).jobs == []


@pytest.mark.parametrize("given", [{"best_of": 2, "top_k": 5}, {"decoder_input_details": True}])
def test_what_is_known_only_at_the_end_is_not_streamed(
    client: FlaskClient, given: dict[str, Any]
) -> None:
    response = ask(client, "/generate_stream", **given)
    assert response.status_code == 422
    assert "cannot be streamed" in response.get_json()["error"]


# What is answered


def test_the_text_alone(client: FlaskClient, store: Played) -> None:
    response = ask(client)
    assert response.get_json() == {"generated_text": " café"}
    assert response.headers["X-Job-Id"] == store.job.id
    assert not store.job.stream


def test_the_address_alone_answers_with_a_list(client: FlaskClient) -> None:
    assert ask(client, "/").get_json() == [{"generated_text": " café"}]


def test_the_start_page_is_still_there(client: FlaskClient) -> None:
    assert client.get("/").mimetype == "text/html"


def test_details_tell_every_token_with_its_part_of_the_text(client: FlaskClient) -> None:
    found = ask(client, details=True).get_json()["details"]
    assert found == {
        "finish_reason": "eos_token",
        "generated_tokens": 3,
        "seed": 7,
        "prefill": [],
        "tokens": [
            {"id": 5, "text": " caf", "logprob": 0.0, "special": False},
            {"id": 6, "text": "é", "logprob": -1.0, "special": False},
            {"id": 0, "text": "", "logprob": -2.0, "special": True},
        ],
    }


def test_where_the_stream_is_gone_tokens_are_told_as_they_read_alone(
    client: FlaskClient, store: Played
) -> None:
    store.given = []
    found = ask(client, details=True).get_json()["details"]["tokens"]
    assert [token["text"] for token in found] == list(ALONE)


def test_the_prompt_is_told_of_with_decoder_input_details(
    client: FlaskClient, store: Played
) -> None:
    prompt = [
        TokenLogprob(id=1, text="On", logprob=None),
        TokenLogprob(id=2, text="ce", logprob=-3.0),
    ]
    store.outcome = outcome(sequence(prompt_logprobs=prompt))
    found = ask(client, decoder_input_details=True).get_json()["details"]["prefill"]
    assert found == [
        {"id": 1, "text": "On", "logprob": None},
        {"id": 2, "text": "ce", "logprob": -3.0},
    ]
    assert store.job.parameters.prompt_logprobs == 0


def test_the_likeliest_tokens_are_told_where_asked_for(client: FlaskClient, store: Played) -> None:
    found = ask(client, details=True, top_n_tokens=1).get_json()["details"]["top_tokens"]
    assert found == [[{"id": 9, "text": " x", "logprob": -2.0, "special": False}]] * 3
    assert store.job.parameters.logprobs == 1


def test_best_of_answers_with_the_likeliest_and_details_with_the_others(
    client: FlaskClient, store: Played
) -> None:
    store.outcome = outcome(sequence(), sequence(generated_text="other", logprobs=[]))
    found = ask(client, best_of=2, do_sample=True, details=True).get_json()
    assert found["generated_text"] == " café"
    (other,) = found["details"]["best_of_sequences"]
    assert other["generated_text"] == "other"
    assert (store.job.parameters.best_of, store.job.parameters.num_return_sequences) == (2, 2)


def test_best_of_without_details_draws_as_many_and_returns_one(
    client: FlaskClient, store: Played
) -> None:
    assert ask(client, best_of=3, do_sample=True).get_json() == {"generated_text": " café"}
    assert (store.job.parameters.best_of, store.job.parameters.num_return_sequences) == (3, 1)


def test_a_stop_string_is_the_end_of_the_text_it_ended(client: FlaskClient, store: Played) -> None:
    store.given = tokens("stop_sequence", "!")
    store.outcome = outcome(sequence(finish_reason="stop_sequence", stop="!"))
    assert ask(client).get_json()["generated_text"] == " café!"
    found = streamed(ask(client, "/generate_stream").text)
    assert "".join(event["token"]["text"] for event in found) == " café!"
    assert found[-1]["generated_text"] == " café!"


# Streams


@pytest.mark.parametrize("path", ["/", "/generate", "/generate_stream"])
def test_a_stream_tells_each_token_and_at_the_last_the_whole(
    client: FlaskClient, store: Played, path: str
) -> None:
    body = {"inputs": "Once", "parameters": {"details": True}, "stream": True}
    response = client.post(path, json=body)
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Job-Id"] == store.job.id
    found = streamed(response.text)
    assert [event["index"] for event in found] == [1, 2, 3]
    assert "".join(event["token"]["text"] for event in found) == " café"
    assert [event["generated_text"] for event in found] == [None, None, " café"]
    assert [event["details"] for event in found] == [
        *(None, None),
        {"finish_reason": "eos_token", "generated_tokens": 3, "seed": 7, "input_length": 4},
    ]
    assert found[-1]["token"] == {"id": 0, "text": "", "logprob": -2.0, "special": True}


def test_details_are_left_out_of_a_stream_that_does_not_ask(client: FlaskClient) -> None:
    found = streamed(ask(client, "/generate_stream", top_n_tokens=1).text)
    assert [event["details"] for event in found] == [None] * 3
    assert found[0]["top_tokens"][0]["id"] == 9


def test_another_attempt_repeats_nothing(client: FlaskClient, store: Played) -> None:
    def play(job_id: str) -> None:
        store.start(job_id)
        store.emit(job_id, [*store.given[:2], *store.given])
        store.finish(job_id, store.outcome)

    store.on_wait = play
    found = streamed(ask(client, "/generate_stream").text)
    assert "".join(event["token"]["text"] for event in found) == " café"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([*tokens()[:1], Token(0, 0, 0, 8, " tea")], "generation"),
        (tokens()[:2], "generation"),
    ],
    ids=["another text", "no last token"],
)
def test_a_stream_that_cannot_go_on_says_so(
    client: FlaskClient, store: Played, given: list[Token], kind: str
) -> None:
    store.given = given
    found = streamed(ask(client, "/generate_stream").text)
    assert found[-1]["error_type"] == kind
    assert found[-1]["error"]


def test_a_server_that_stops_tells_the_stream_and_cancels(
    client: FlaskClient, store: Played
) -> None:
    store.on_wait = lambda job_id: None
    client.application.extensions["distilq.stopping"] = lambda: True
    (event,) = streamed(ask(client, "/generate_stream").text)
    assert event["error_type"] == "incomplete_generation"
    assert store.job.status is JobStatus.CANCELED


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_client_that_hangs_up_cancels_its_job(
    client: FlaskClient, store: Played, path: str
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        store.on_wait = lambda job_id: theirs.close()
        client.post(path, json={"inputs": "a"}, environ_overrides={"gunicorn.socket": ours})
    assert store.job.status is JobStatus.CANCELED


# Errors


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (e.PromptTooLong("1100 tokens, 1024 positions"), 422, "validation"),
        (e.GenerationFailed("broken"), 424, "generation"),
        (e.Poisoned("5 deaths"), 424, "generation"),
        (e.TimedOut("1 s"), 500, "incomplete_generation"),
    ],
)
def test_a_job_that_fails_is_one_of_tgis_errors(
    client: FlaskClient, store: Played, error: e.DistilqError, status: int, kind: str
) -> None:
    store.on_wait = lambda job_id: store.fail(job_id, error)
    response = ask(client)
    assert response.status_code == status
    body = {"error": f"{error.title}: {error.detail}", "error_type": kind}
    assert response.get_json() == body
    assert response.headers["X-Job-Id"] == store.job.id


def test_a_streamed_job_that_fails_is_one_of_tgis_errors(
    client: FlaskClient, store: Played
) -> None:
    store.on_wait = lambda job_id: store.fail(job_id, e.PromptTooLong("1100 tokens"))
    (event,) = streamed(ask(client, "/generate_stream").text)
    assert event == {"error": "The prompt does not fit: 1100 tokens", "error_type": "validation"}


def test_a_job_that_takes_too_long_is_canceled(client: FlaskClient, store: Played) -> None:
    store.on_wait = lambda job_id: None
    response = ask(client)
    assert response.status_code == 500
    assert response.get_json()["error_type"] == "incomplete_generation"
    assert store.job.status is JobStatus.CANCELED


def test_a_full_queue_is_overload(store: Played) -> None:
    store.max_queued_jobs = 0
    response = ask(make_client(store))
    assert response.status_code == 429
    assert response.get_json()["error_type"] == "overloaded"
    assert "Retry-After" in response.headers


def test_what_tgi_has_no_word_for_keeps_its_status_and_has_no_type(store: Played) -> None:
    client = make_client(store, MemoryRing())
    response = ask(client)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert list(response.get_json()) == ["error"]


def test_where_redis_is_away_says_nothing_of_it(client: FlaskClient, store: Played) -> None:
    store.down = True
    response = ask(client)
    assert response.status_code == 503
    assert response.get_json() == {"error": "Redis cannot be reached"}


def test_a_body_that_is_no_json_is_told_so(client: FlaskClient) -> None:
    response = client.post("/generate", data="{", content_type="application/json")
    assert response.status_code == 400
    assert response.get_json()["error"].startswith("The body is not valid JSON: ")


def test_the_address_alone_takes_no_other_bodies(client: FlaskClient) -> None:
    response = client.post("/", json={"inputs": ["a", "b"]})
    assert response.status_code == 422
    assert "`inputs` must be a string" in response.get_json()["error"]


# How it stands


def test_health_is_whether_a_job_would_be_worked_on(client: FlaskClient, store: Played) -> None:
    response = client.get("/health")
    assert response.status_code == 503
    assert response.get_json()["error_type"] == "healthcheck"
    store.alive = [FAKE_WORKER]
    assert client.get("/health").status_code == 200
    store.down = True
    assert client.get("/health").status_code == 503


def test_info_tells_what_serves(client: FlaskClient, store: Played) -> None:
    assert client.get("/info").get_json()["model_dtype"] is None
    store.alive = [FAKE_WORKER]
    found = client.get("/info").get_json()
    assert (found["model_id"], found["model_dtype"], found["model_device_type"]) == (
        *("fake", "float32", "cpu"),
    )
    assert found["max_total_tokens"] == 1024
    assert found["max_concurrent_requests"] >= 1


def test_a_request_that_is_wrong_is_told_where(client: FlaskClient) -> None:
    (error,) = ask(client, top_p=2).get_json()["errors"]
    assert error["pointer"] == "#/parameters/top_p"
