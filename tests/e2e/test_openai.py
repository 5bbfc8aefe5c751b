"""The `openai` package, unmodified, against a running service."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import openai
import pytest
import torch
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion, CompletionChoice
from transformers import GPT2LMHeadModel

from tests.e2e.running import Running, clean_environment, until
from worker.names import BUNDLED

pytestmark = pytest.mark.timeout(400)  # see test_up.py

ROOT = Path(__file__).parents[2]
MODEL = "bundled"
PROMPT = "Once upon a time"


@pytest.fixture
def client(service: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="any", timeout=90, max_retries=0) as client:
        yield client


def ids(http: httpx.Client, text: str) -> list[int]:
    """The prompt's tokens, as the service itself reads them."""
    asked = {"inputs": text, "parameters": {"max_new_tokens": 0, "prompt_logprobs": 0}}
    job = http.post("/v1/jobs", json=asked, headers={"Prefer": "wait=60"}).json()
    return [token["id"] for token in job["result"][0][0]["prompt_logprobs"]]


def lists(choice: CompletionChoice) -> dict[str, Any]:
    """Its log-probabilities; the client's types know nothing of the null that comes first."""
    return choice.logprobs.model_dump() if choice.logprobs else {}


def texts(completion: Completion) -> list[str]:
    assert [choice.index for choice in completion.choices] == [*range(len(completion.choices))]
    return [choice.text for choice in completion.choices]


def test_a_completion(client: OpenAI, http: httpx.Client) -> None:
    raw = client.completions.with_raw_response.create(model=MODEL, prompt=PROMPT, seed=1)
    completion = raw.parse()
    (choice,) = completion.choices
    assert choice.text
    assert choice.finish_reason in ("stop", "length")
    assert completion.object == "text_completion"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == len(ids(http, PROMPT))
    assert 0 < completion.usage.completion_tokens <= 16
    assert completion.usage.total_tokens == (
        completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    job = http.get(f"/v1/jobs/{raw.headers['x-job-id']}").json()
    assert completion.id == f"cmpl-{job['id']}"
    assert job["result"][0][0]["generated_text"] == choice.text
    assert job["queue"]["priority"] == "interactive"


def test_prompts_of_every_form_are_the_same_prompts(client: OpenAI, http: httpx.Client) -> None:
    def create(prompt: Any) -> list[str]:
        return texts(
            client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=12)
        )

    one, other = PROMPT, "My name is John and I am"
    both = create([one, other])
    assert both == create(one) + create(other)
    assert both == create([ids(http, one), ids(http, other)])
    assert both[:1] == create(ids(http, one))


def test_a_stream_is_the_completion_of_the_same_seed(client: OpenAI) -> None:
    for asked in (
        {"n": 3, "max_tokens": 40},
        {"prompt": [PROMPT, "世界, émigré"], "n": 2, "stop": ["the", "ing"], "max_tokens": 60},
        {"echo": True, "max_tokens": 8},
        {"temperature": 0, "n": 2},
        {"logprobs": 3, "max_tokens": 24, "stop": "er", "temperature": 1.7},
        {"echo": True, "logprobs": 2, "n": 2},
        {"echo": True, "max_tokens": 0},
    ):
        fields: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "seed": 5, **asked}
        whole = client.completions.create(**fields)
        chunks = [*client.completions.create(**fields, stream=True)]
        joined: dict[int, dict[str, Any]] = {}
        for chunk in chunks:
            assert isinstance(chunk, Completion)
            (choice,) = chunk.choices
            told = joined.setdefault(choice.index, {"text": "", "finish": None, "logprobs": {}})
            assert told["finish"] is None, "nothing comes behind the end of a choice"
            told["text"] += choice.text
            told["finish"] = choice.finish_reason
            for name, values in lists(choice).items():
                told["logprobs"].setdefault(name, []).extend(values)
        assert len({chunk.id for chunk in chunks}) == 1
        for choice in whole.choices:
            told = joined.pop(choice.index)
            assert (told["text"], told["finish"]) == (choice.text, choice.finish_reason), asked
            assert told["logprobs"] == lists(choice), asked
        assert not joined


def test_usage_comes_with_the_last_chunk(client: OpenAI) -> None:
    *chunks, last = client.completions.create(
        model=MODEL,
        prompt=PROMPT,
        seed=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    whole = client.completions.create(model=MODEL, prompt=PROMPT, seed=2)
    assert last.choices == []
    assert last.usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks)


def test_logprobs_of_an_echoed_prompt_are_those_of_the_text(
    client: OpenAI, http: httpx.Client
) -> None:
    for prompt, max_tokens in ((PROMPT, 0), (PROMPT, 1), (ids(http, PROMPT), 1), ("世界 é", 1)):
        (choice,) = client.completions.create(
            model=MODEL,
            prompt=prompt,
            max_tokens=max_tokens,
            temperature=0,
            logprobs=1,
            echo=True,
            seed=1234,
        ).choices
        found = lists(choice)
        known = prompt if isinstance(prompt, list) else ids(http, prompt)
        assert {len(each) for each in found.values()} == {len(known) + max_tokens}
        first, *logprobs = found["token_logprobs"]
        none, *tops = found["top_logprobs"]
        assert first is none is None
        for logprob, top in zip(logprobs, tops, strict=True):
            assert logprob <= max(top.values())
            assert logprob in top.values() or "\N{REPLACEMENT CHARACTER}" in top
        for at, token in zip(found["text_offset"], found["tokens"], strict=True):
            unfinished = "\N{REPLACEMENT CHARACTER}" in token
            assert unfinished or choice.text.startswith(token, at)


def test_prompt_logprobs_are_those_that_generating_them_gives(client: OpenAI) -> None:
    """A text scored as a prompt, and as it was generated."""
    (drawn,) = client.completions.create(
        model=MODEL, prompt=PROMPT, max_tokens=10, logprobs=2, temperature=0
    ).choices
    (scored,) = client.completions.create(
        model=MODEL, prompt=PROMPT + drawn.text, max_tokens=0, logprobs=2, echo=True
    ).choices
    new, whole = lists(drawn), lists(scored)
    assert whole["tokens"][-len(new["tokens"]) :] == new["tokens"]
    found = whole["token_logprobs"][-len(new["tokens"]) :]
    assert found == pytest.approx(new["token_logprobs"], abs=1e-3)


def test_scores_are_those_of_transformers(client: OpenAI) -> None:
    """As an evaluation asks for them: token ids of several lengths, one new token, greedily."""
    model = GPT2LMHeadModel.from_pretrained(BUNDLED, dtype=torch.float32)
    prompts = [[0, 5, 900, 31, 77], [12, 400], [7, 8, 9, 10, 11, 12, 13, 14, 2000]]
    completion = client.completions.create(
        model=MODEL, prompt=prompts, max_tokens=1, temperature=0, logprobs=1, echo=True, seed=1234
    )
    for choice, known in zip(completion.choices, prompts, strict=True):
        with torch.inference_mode():
            logs = model(torch.tensor([known])).logits[0].log_softmax(-1)
        expected = [float(logs[n, token]) for n, token in enumerate(known[1:])]
        likeliest = logs.max(-1).values.tolist()
        found = lists(choice)
        assert found["token_logprobs"][1:-1] == pytest.approx(expected, abs=1e-4)
        best = [max(top.values()) for top in found["top_logprobs"][1:]]
        assert best == pytest.approx(likeliest, abs=1e-4)
        assert found["token_logprobs"][-1] == best[-1]


def test_what_shapes_the_text_does(client: OpenAI, http: httpx.Client) -> None:
    fields: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "temperature": 0}
    (plain,) = client.completions.create(**fields, max_tokens=8, logprobs=1).choices
    assert plain.logprobs is not None
    (first, *_) = plain.logprobs.tokens or []
    (token,) = ids(http, first)
    (banned,) = client.completions.create(**fields, logit_bias={str(token): -100}).choices
    assert not banned.text.startswith(first)
    (only,) = client.completions.create(
        **fields, logit_bias={str(token): 100}, max_tokens=4
    ).choices
    assert only.text == first * 4
    (varied,) = client.completions.create(
        **fields, logit_bias={str(token): 20}, max_tokens=32, frequency_penalty=2
    ).choices
    (same,) = client.completions.create(
        **fields, logit_bias={str(token): 20}, max_tokens=32
    ).choices
    assert varied.text != same.text
    (stopped,) = client.completions.create(**fields, max_tokens=8, stop=plain.text[3:6]).choices
    assert stopped.finish_reason == "stop"
    assert stopped.text == plain.text[: plain.text.index(plain.text[3:6])]


def test_the_best_of_several(client: OpenAI) -> None:
    completion = client.completions.create(
        model=MODEL, prompt=PROMPT, n=2, best_of=6, seed=3, logprobs=0, max_tokens=6
    )

    def mean(choice: Any) -> float:
        values = choice.logprobs.token_logprobs
        return float(sum(values) / len(values))

    first, second = completion.choices
    assert mean(first) >= mean(second)
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 12


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_waits_no_longer_has_its_job_canceled(
    client: OpenAI, http: httpx.Client, stream: bool
) -> None:
    known = {job["id"] for job in http.get("/v1/jobs?limit=200").json()["jobs"]}
    fields: dict[str, Any] = {"model": MODEL, "prompt": [PROMPT] * 64, "max_tokens": 1000}
    if stream:
        with client.completions.create(**fields, stream=True) as chunks:
            next(iter(chunks))
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).completions.create(**fields)

    def canceled() -> bool:
        jobs = http.get("/v1/jobs?limit=200").json()["jobs"]
        return [job["status"] for job in jobs if job["id"] not in known] == ["canceled"]

    until(canceled)


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"temperature": 3}, openai.BadRequestError, "temperature", "out_of_range"),
        ({"suffix": "end"}, openai.BadRequestError, "suffix", "not_offered"),
        ({"extra_body": {"top_k": 5}}, openai.BadRequestError, "top_k", "unknown_field"),
        ({"max_tokens": 1020}, openai.BadRequestError, "prompt", "context_length_exceeded"),
        ({"prompt": [10**6]}, openai.BadRequestError, None, "invalid_token"),
        ({"model": "gpt-4"}, openai.NotFoundError, "model", "model_not_found"),
        ({"prompt": "a" * 2_000_000}, openai.APIStatusError, None, "payload_too_large"),
    ],
    ids=["bound", "suffix", "unknown", "too long", "token", "model", "body"],
)
def test_errors_are_the_clients_exceptions(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], param: Any, code: str
) -> None:
    prompt = "one two three four five six seven eight nine ten"
    with pytest.raises(kind) as caught:
        client.completions.create(**{"model": MODEL, "prompt": prompt, **fields})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_an_error_amid_a_stream_is_raised(client: OpenAI) -> None:
    stream = client.completions.create(
        model=MODEL, prompt=[[1], [10**6]], max_tokens=4, stream=True
    )
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "invalid_token"


def test_models(client: OpenAI) -> None:
    (model,) = client.models.list()
    assert model.id == MODEL
    assert model.created > 0
    assert client.models.retrieve(MODEL) == model
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("some/other")
    assert caught.value.code == "model_not_found"


def test_the_asynchronous_client(service: Running) -> None:
    async def ask() -> tuple[list[str], list[str]]:
        async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="any", timeout=90) as client:
            fields: dict[str, Any] = {"model": MODEL, "prompt": PROMPT}
            jobs = [client.completions.create(**fields, seed=seed) for seed in range(8)]
            whole = [completion.choices[0].text for completion in await asyncio.gather(*jobs)]

            async def streamed(seed: int) -> str:
                stream = await client.completions.create(**fields, seed=seed, stream=True)
                return "".join([chunk.choices[0].text async for chunk in stream])

            return whole, list(await asyncio.gather(*map(streamed, range(8))))

    whole, streamed = asyncio.run(ask())
    assert whole == streamed
    assert len(set(whole)) > 1


def test_many_clients_at_once(service: Running, client: OpenAI) -> None:
    def ask(seed: int) -> str:
        return client.completions.create(model=MODEL, prompt=PROMPT, seed=seed).choices[0].text

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, range(24)))
    assert found[:3] == [ask(0), ask(1), ask(2)]


def test_a_key_that_is_wrong_or_used_up(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start("--host", "0.0.0.0")
    command = [sys.executable, "-m", "distilq.cli", "keys", "create", "Anna", "--rate", "1"]
    made = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        env=clean_environment(tmp_path),
        capture_output=True,
        check=True,
        text=True,
    )

    def ask(key: str) -> Completion:
        with OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
            return client.completions.create(model=MODEL, prompt=PROMPT)

    with pytest.raises(openai.AuthenticationError) as refused:
        ask("wrong")
    assert refused.value.code == "invalid_api_key"
    assert ask(made.stdout.strip()).choices
    with pytest.raises(openai.RateLimitError) as limited:
        ask(made.stdout.strip())
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["retry-after"]) > 0


class Refusing(BaseHTTPRequestHandler):
    """Refuses the first two requests in the service's own words, and hands the next on to it."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen += 1
        if self.server.seen <= 2:
            status = (503, 429)[self.server.seen - 1]
            answer, headers = b'{"error": {"message": "later"}}', {"Retry-After": "1"}
        else:
            sent = {"Content-Type": "application/json"}
            got = httpx.post(self.server.target + self.path, content=body, headers=sent, timeout=90)
            status, answer, headers = got.status_code, got.content, {}
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Not among the tests' output."""


def test_the_client_comes_again_when_it_is_told_to(service: Running) -> None:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.target, server.seen = service.url, 0
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with OpenAI(base_url=url, api_key="any", max_retries=2) as client:
            assert client.completions.create(model=MODEL, prompt=PROMPT).choices[0].text
    finally:
        server.shutdown()
        server.server_close()
    assert server.seen == 3


def test_the_raw_stream_ends_as_openais_does(http: httpx.Client) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "stream": True}
    with http.stream("POST", "/v1/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["choices"] for line in lines[:-1])


def test_the_examples_of_the_documentation_run(service: Running, tmp_path: Path) -> None:
    section = (ROOT / "docs/clients.md").read_text().split("## OpenAI\n")[1].split("\n## ")[0]
    examples = re.findall(r"^```(sh|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in examples] == ["sh", "python", "python"]
    for language, example in examples:
        text = example.replace("http://127.0.0.1:8000", service.url).replace("distilgpt2", MODEL)
        said = subprocess.run(
            ["sh", "-eu"] if language == "sh" else [sys.executable, "-"],
            input=text,
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.strip()
