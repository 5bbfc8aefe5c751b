"""huggingface_hub's own client against a running service: it takes it for TGI."""

from __future__ import annotations

import asyncio
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import GenerationError, ValidationError

from tests.e2e.running import CARD_SAMPLE, Running

PROMPT = "Once upon a time,"
SAMPLED: dict[str, Any] = {
    "max_new_tokens": 30,
    "do_sample": True,
    "temperature": 0.9,
    "top_p": 0.95,
}


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[InferenceClient]:
    # Its two looks at a service, unlike its requests, want to hear the provider.
    with InferenceClient(model=service.url, provider="hf-inference", timeout=90) as client:
        yield client


def test_a_text_and_again_the_same_by_its_seed(client: InferenceClient) -> None:
    first = client.text_generation(PROMPT, seed=5, **SAMPLED)
    assert first == client.text_generation(PROMPT, seed=5, **SAMPLED)
    assert first != client.text_generation(PROMPT, seed=6, **SAMPLED)
    assert not first.startswith(PROMPT)


def test_greedy_unless_told_to_sample(client: InferenceClient) -> None:
    first, second = (client.text_generation(PROMPT, max_new_tokens=20) for _ in range(2))
    assert first == second
    full = client.text_generation(PROMPT, max_new_tokens=20, return_full_text=True)
    assert full == PROMPT + first


def test_a_hundred_tokens_when_no_number_is_given(client: InferenceClient) -> None:
    details = client.text_generation(PROMPT, details=True).details
    assert details is not None
    assert details.generated_tokens == 100 or details.finish_reason == "eos_token"


@pytest.mark.parametrize("seed", range(8))
def test_all_forms_tell_the_same_text(client: InferenceClient, seed: int) -> None:
    asked: dict[str, Any] = {**SAMPLED, "seed": seed, "temperature": 1.5, "top_p": None}
    plain = client.text_generation(PROMPT, **asked)
    detailed = client.text_generation(PROMPT, details=True, **asked)
    streamed = "".join(client.text_generation(PROMPT, stream=True, **asked))
    events = list(client.text_generation(PROMPT, stream=True, details=True, **asked))
    assert plain == detailed.generated_text == streamed == events[-1].generated_text
    assert plain == "".join(event.token.text for event in events)
    assert plain == "".join(token.text for token in detailed.details.tokens)
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert [event.token.id for event in events] == [t.id for t in detailed.details.tokens]
    assert [event.token.logprob for event in events] == [
        token.logprob for token in detailed.details.tokens
    ]
    assert events[-1].details.generated_tokens == detailed.details.generated_tokens == len(events)
    assert events[-1].details.finish_reason == detailed.details.finish_reason
    assert events[-1].details.seed == detailed.details.seed == seed


def test_details_of_the_prompt_and_of_the_likeliest(client: InferenceClient) -> None:
    found: Any = client.text_generation(
        PROMPT, max_new_tokens=5, details=True, decoder_input_details=True, top_n_tokens=3
    ).details
    assert "".join(token.text for token in found.prefill) == PROMPT
    assert found.prefill[0].logprob is None
    assert all(token.logprob < 0 for token in found.prefill[1:])
    assert [len(tokens) for tokens in found.top_tokens] == [3] * found.generated_tokens
    for token, top in zip(found.tokens, found.top_tokens, strict=True):
        assert top[0]["id"] == token.id  # greedy; the client leaves these as they are
        assert top[0]["logprob"] == pytest.approx(token.logprob)


def test_best_of_returns_the_likeliest_and_tells_of_the_others(client: InferenceClient) -> None:
    found: Any = client.text_generation(PROMPT, best_of=3, details=True, **SAMPLED)

    def mean(details: Any) -> float:
        logprobs: list[float] = [token.logprob for token in details.tokens]
        return sum(logprobs) / len(logprobs)

    others = found.details.best_of_sequences
    assert len(others) == 2
    assert all(mean(found.details) >= mean(other) for other in others)
    for each in (*others, found):
        tokens = (each.details if each is found else each).tokens
        assert "".join(token.text for token in tokens) == each.generated_text


def test_a_stop_string_ends_the_text_and_is_its_end(client: InferenceClient) -> None:
    whole = client.text_generation(PROMPT, max_new_tokens=30)
    stop = whole[12:17]
    asked: dict[str, Any] = {"max_new_tokens": 30, "stop": [stop], "details": True}
    found = client.text_generation(PROMPT, **asked)
    assert found.details.finish_reason == "stop_sequence"
    assert found.generated_text == whole[: whole.index(stop) + len(stop)]
    events = list(client.text_generation(PROMPT, stream=True, **asked))
    assert "".join(event.token.text for event in events) == found.generated_text


def test_truncate_keeps_the_end_of_the_prompt(client: InferenceClient) -> None:
    short = client.text_generation(" the king", max_new_tokens=10, details=True)
    asked: dict[str, Any] = {"decoder_input_details": True, "details": True}
    kept = client.text_generation(" the king", max_new_tokens=10, **asked).details.prefill
    found = client.text_generation(
        "Something else altogether:" + " the king",
        max_new_tokens=10,
        truncate=len(kept),
        **asked,
    )
    assert [token.id for token in found.details.prefill] == [token.id for token in kept]
    assert found.generated_text == short.generated_text


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_with_a_request_is_a_validation_error(
    client: InferenceClient, stream: bool
) -> None:
    def ask(prompt: str = PROMPT, **asked: Any) -> None:
        list(client.text_generation(prompt, stream=stream, **asked))

    with pytest.raises(ValidationError, match="temperature"):
        ask(temperature=-1.0)
    with pytest.raises(ValidationError, match="watermark"):
        ask(watermark=True)
    with pytest.raises(ValidationError, match="grammar"):
        ask(grammar={"type": "regex", "value": "a"})
    with pytest.raises(ValidationError, match="1024"):
        ask("word " * 1100)


def test_a_job_that_another_cancels_is_a_generation_error(
    client: InferenceClient, http: httpx.Client
) -> None:
    events = client.text_generation(PROMPT, stream=True, max_new_tokens=1000, do_sample=True)
    next(iter(events))
    newest = http.get("/v1/jobs", params={"limit": 1}).json()["jobs"][0]
    http.post(f"/v1/jobs/{newest['id']}/cancel")
    with pytest.raises(GenerationError, match="canceled"):
        list(events)


def test_leaving_a_stream_cancels_its_job(service: Running, http: httpx.Client) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 1000, "do_sample": True}}
    with http.stream("POST", "/generate_stream", json=body) as response:
        next(response.iter_lines())
        job_id = response.headers["X-Job-Id"]
    job = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}).json()
    assert job["status"] == "canceled"
    assert job["progress"]["tokens_done"] < 1000


def test_it_tells_what_serves_and_how_it_stands(client: InferenceClient) -> None:
    assert client.health_check()
    info = client.get_endpoint_info()
    assert (info["model_dtype"], info["max_total_tokens"]) == ("float32", 1024)


def test_the_whole_address_of_a_route_works_too(service: Running) -> None:
    with InferenceClient(model=f"{service.url}/generate", timeout=90) as client:
        assert client.text_generation(PROMPT, max_new_tokens=5)
        assert "".join(client.text_generation(PROMPT, max_new_tokens=5, stream=True))


def test_the_async_client_in_all_forms(service: Running) -> None:
    asked: dict[str, Any] = {**SAMPLED, "seed": 3}

    async def ask() -> None:
        async with AsyncInferenceClient(model=service.url, timeout=90) as client:
            generate = client.text_generation
            plain, detailed = await asyncio.gather(
                generate(PROMPT, **asked), generate(PROMPT, details=True, **asked)
            )
            texts = [text async for text in await generate(PROMPT, stream=True, **asked)]
            stream = await generate(PROMPT, stream=True, details=True, **asked)
            events = [event async for event in stream]
            assert plain == detailed.generated_text == "".join(texts) == events[-1].generated_text
            for stream_it in (False, True):
                with pytest.raises(ValidationError, match="top_p"):
                    await generate(PROMPT, top_p=2.0, stream=stream_it)

    asyncio.run(ask())


def test_the_older_forms_of_the_card(http: httpx.Client) -> None:
    texts = CARD_SAMPLE["inputs"]["input_string"]
    asked = {"max_new_tokens": 5, "seed": 1}
    new = http.post("/score", json={"inputs": texts, "parameters": {**asked, "temperature": 0.8}})
    records = http.post("/score", json={"input_data": {"input_string": texts}, "params": asked})
    flat = http.post("/score", json={"input_data": texts, "params": asked})
    words = [row[0]["generated_text"] for row in new.json()]
    assert records.json() == [{"0": text} for text in words]
    assert flat.json() == words


def test_the_documents_example_runs(
    service: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/clients.md").read_text()
    section = page.split("\n## huggingface_hub\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    example = tmp_path / "example.py"
    example.write_text(code.replace("http://127.0.0.1:8000", service.url))
    names = runpy.run_path(str(example))
    names["client"].close()
    assert names["answer"].generated_text in capsys.readouterr().out


def test_a_worker_that_dies_amid_a_stream_repeats_nothing(start: Callable[..., Running]) -> None:
    running = start("--precision", "float32")
    asked: dict[str, Any] = {"max_new_tokens": 400, "do_sample": True, "seed": 11, "details": True}
    with InferenceClient(model=running.url, timeout=90) as client:
        events = []
        for event in client.text_generation(PROMPT, stream=True, **asked):
            events.append(event)
            if len(events) == 20:
                running.descendant("celery", "worker").kill()
        whole = client.text_generation(PROMPT, **asked)
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.token.text for event in events) == whole.generated_text
    assert events[-1].generated_text == whole.generated_text
    newest = httpx.get(f"{running.url}/v1/jobs", params={"limit": 2}, trust_env=False).json()
    assert newest["jobs"][1]["attempt"] == 2
