"""The Python SDK against a running service."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilq import AsyncClient, Client
from distilq.client import DoneEvent, JobHandle, Result, TokenEvent
from distilq.errors import Canceled, InvalidParameters, PromptTooLong, TimedOut
from distilq.jobs import JobStatus
from tests.chaos.proxy import Proxy
from tests.e2e.running import Running, clean_environment, until

pytestmark = pytest.mark.timeout(400)  # see test_up.py

ROOT = Path(__file__).parents[2]
PROMPT = "Once upon a time,"


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def proxy(service: Running) -> Iterator[Proxy]:
    proxy = Proxy(int(service.url.rsplit(":", 1)[1]))
    yield proxy
    proxy.close()


def streamed(job: JobHandle) -> tuple[str, Result]:
    """The new text as the tokens told it, and the result."""
    text = ""
    for event in job.stream():
        if isinstance(event, TokenEvent):
            text += event.text
    assert isinstance(event, DoneEvent)
    return text, event.result


def test_generate_gives_the_text_of_its_seed(client: Client) -> None:
    first, second = (
        client.generate([PROMPT, "The sea"], seed=3, num_return_sequences=2) for _ in "ab"
    )
    assert first.texts == second.texts
    assert [len(texts) for texts in first.texts] == [2, 2]
    assert first.text.startswith(PROMPT)
    assert first.sequences[0][0].generated_tokens > 0
    assert first.job.queue.priority.value == "interactive"


def test_tokens_joined_are_the_text(client: Client) -> None:
    known = client.generate("Grüße, 世界 🌍", max_new_tokens=0, prompt_logprobs=0).sequences[0][0]
    parts = {str(token.id): 50.0 for token in known.prompt_logprobs or []}  # of characters, often
    for seed in range(3):
        job = client.submit(
            PROMPT,
            stream=True,
            return_full_text=False,
            seed=seed,
            temperature=5,
            logit_bias=parts,
        )
        text, result = streamed(job)
        assert text == result.text == job.result().text
        assert not text.isascii()


def test_a_stream_outlives_its_connections(client: Client, proxy: Proxy) -> None:
    cuts = 0

    def cut(piece: bytes) -> bool:
        """Every fifth piece of the service's is lost with its connection."""
        nonlocal cuts
        cuts += 1
        return cuts % 5 == 0

    job = client.submit(PROMPT, stream=True, return_full_text=False, max_new_tokens=200)
    proxy.cuts = cut
    with Client(f"http://127.0.0.1:{proxy.port}") as behind:
        text, result = streamed(behind.job(job.id))
    assert text == result.text
    assert cuts > 5


def test_a_submission_through_a_bad_connection_is_one_job(client: Client, proxy: Proxy) -> None:
    answers = 0

    def cut(piece: bytes) -> bool:
        """The first two answers are lost."""
        nonlocal answers
        answers += 1
        return answers <= 2

    proxy.cuts = cut
    with Client(f"http://127.0.0.1:{proxy.port}") as behind:
        job = behind.submit(PROMPT, max_new_tokens=1, metadata={"who": "test_client"})
    assert answers >= 3
    mine = [each.id for each in client.jobs() if each.metadata == {"who": "test_client"}]
    assert mine == [job.id]


def test_a_map_keeps_the_order_of_its_prompts(client: Client) -> None:
    prompts = [f"Number {n} of fifty" for n in range(50)]
    told = list(client.map(iter(prompts), in_flight=16, max_new_tokens=5))
    assert [outcome.prompt for outcome in told] == prompts
    assert all(outcome.text.startswith(str(outcome.prompt)) for outcome in told)
    told = list(client.map(prompts, ordered=False, max_new_tokens=5))
    assert sorted(outcome.index for outcome in told) == [*range(50)]


def test_errors_of_jobs_are_raised(client: Client) -> None:
    with pytest.raises(PromptTooLong, match=r"1,?024"):
        client.generate("word " * 2_000)
    with pytest.raises(InvalidParameters, match="#/parameters/top_p"):
        client.generate(PROMPT, top_p=2)
    job = client.submit(PROMPT, timeout_s=0.001, max_new_tokens=500)
    with pytest.raises(TimedOut) as caught:
        job.result()
    assert caught.value.job_id == job.id
    prompts = [PROMPT, "word " * 2_000, PROMPT]
    outcomes = list(client.map(prompts, return_errors=True, max_new_tokens=2))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), PromptTooLong, type(None)]


def test_a_running_job_is_canceled(client: Client) -> None:
    job = client.submit([PROMPT] * 16, max_new_tokens=900, stream=True, timeout_s=300)
    events = job.stream()
    next(event for event in events if isinstance(event, TokenEvent))
    assert job.cancel().status in (JobStatus.CANCELING, JobStatus.CANCELED)
    with pytest.raises(Canceled):
        list(events)
    with pytest.raises(Canceled):
        job.result()


def test_a_map_that_is_left_leaves_nothing_behind(client: Client) -> None:
    outcomes = client.map([PROMPT] * 200, in_flight=100, max_new_tokens=100)
    next(outcomes)
    outcomes.close()
    until(lambda: client.queue().queued == client.queue().running == 0)


def test_an_event_loop_does_it_all_at_once(service: Running) -> None:
    async def main() -> tuple[list[Result], list[str], str]:
        async with AsyncClient(service.url) as client:
            asked = (client.generate(PROMPT, seed=n, max_new_tokens=20) for n in range(20))
            results = await asyncio.gather(*asked)
            job = await client.submit(PROMPT, stream=True, seed=1, max_new_tokens=20)
            told = [each.text async for each in job.stream() if isinstance(each, TokenEvent)]
            texts = [o.text async for o in client.map([PROMPT] * 9, seed=1, max_new_tokens=20)]
            return results, texts, PROMPT + "".join(told)

    results, texts, told = asyncio.run(main())
    assert len({result.text for result in results}) > 1
    assert {*texts, told} == {results[1].text}


def test_the_examples_of_the_page_work(service: Running, tmp_path: Path) -> None:
    page = (ROOT / "docs/clients.md").read_text()
    section = page.split("## Python SDK\n")[1].split("\n## ")[0]
    examples = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(examples) == 5
    for example in examples:
        said = subprocess.run(
            [sys.executable, "-"],
            input=example.replace("http://127.0.0.1:8000", service.url),
            env=clean_environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.strip()
