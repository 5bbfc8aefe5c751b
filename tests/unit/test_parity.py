"""The engine over real weights, beside `transformers.generate`, alone and in company."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from distilq.jobs import JobRequest, Outcome, Priority
from distilq.jobs import Sequence as Text
from distilq.parameters import Parameters
from distilq.settings import Precision, Settings
from worker import fbgemm
from worker.engine import Engine
from worker.loading import load_engine
from worker.names import BUNDLED

#: Two tokens nearer than this may change places when sums are taken in another order.
TIE = 1e-4
NEW_TOKENS = 16

pytestmark = [
    pytest.mark.skipif(
        not (BUNDLED / "model.safetensors").exists(), reason="the bundled model is not here"
    ),
    pytest.mark.timeout(600),  # two threads on cores that others use too wait for each other
]


@pytest.fixture(scope="module")
def reference() -> GPT2LMHeadModel:
    model: GPT2LMHeadModel = GPT2LMHeadModel.from_pretrained(BUNDLED, dtype=torch.float32)
    model.train(False)
    return model


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(Settings(model="bundled", precision="float32", max_rows=32, threads=1))


def run(
    engine: Engine, requests: dict[str, JobRequest], arrivals: random.Random | None = None
) -> dict[str, Outcome]:
    """All outcomes; with `arrivals` the jobs come in a few at a time."""
    waiting = list(requests.items())
    done: dict[str, Outcome] = {}
    while len(done) < len(requests):
        for _ in range(arrivals.randrange(4) if arrivals else len(waiting)):
            if waiting:
                engine.submit(*waiting.pop(0))
        done.update(engine.step())
    return done


def ask(inputs: Any, **asked: Any) -> JobRequest:
    parameters = {"max_new_tokens": NEW_TOKENS, "seed": 1, "logprobs": 0} | asked
    return JobRequest(inputs=inputs, parameters=Parameters(**parameters), timeout_s=3600)


def only_text(outcome: Outcome) -> Text:
    assert outcome.error is None, outcome.error
    assert outcome.result is not None
    return outcome.result[0][0]


def ids_of(outcome: Outcome) -> list[int]:
    known = only_text(outcome).logprobs
    assert known is not None
    return [each.id for each in known]


def random_prompts(count: int, seed: int, vocabulary: int = 8192) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    edges = (1, 2, 15, 16, 17, 63, 64, 65, 128, 129)
    lengths = [
        draw.choice(edges) if draw.random() < 0.3 else draw.randint(1, 200) for _ in range(count)
    ]
    return [tuple(draw.randrange(1, vocabulary) for _ in range(length)) for length in lengths]


def assert_greedy(model: GPT2LMHeadModel, prompt: tuple[int, ...], tokens: list[int]) -> None:
    """Every token is the one that `transformers` finds likeliest after the tokens before it."""
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    assert (logits.amax(1) - chosen).max() <= TIE


def test_greedy_texts_of_a_full_batch_equal_those_of_transformers(
    engine: Engine, reference: GPT2LMHeadModel
) -> None:
    prompts = random_prompts(200, seed=1)
    prompts += [tuple([5, 6, 7] * 336), tuple(range(1, 1008))]
    requests = {str(n): ask(prompt, do_sample=False) for n, prompt in enumerate(prompts)}
    done = run(engine, requests, arrivals=random.Random(2))
    for number, prompt in enumerate(prompts):
        tokens = ids_of(done[str(number)])
        assert len(tokens) == NEW_TOKENS or tokens[-1] in engine.model.info.eos_token_ids
        assert_greedy(reference, prompt, tokens)


def test_greedy_texts_alone_equal_what_generate_returns(
    engine: Engine, reference: GPT2LMHeadModel
) -> None:
    for prompt in random_prompts(20, seed=3):
        tokens = ids_of(run(engine, {"key": ask(prompt, do_sample=False)})["key"])
        ids = torch.tensor([prompt])
        generate: Callable[..., torch.Tensor] = reference.generate  # type: ignore[assignment, misc]
        found = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        if tokens != found:
            assert_greedy(reference, prompt, tokens)


def mixed(number: int) -> JobRequest:
    """A job of random length and parameters, the same for every call."""
    draw = random.Random(number)
    [prompt] = random_prompts(1, seed=1000 + number)
    asked: dict[str, Any] = {"seed": number, "max_new_tokens": draw.randint(2, 24)}
    options: list[dict[str, Any]] = [
        {"top_k": draw.choice((0, 5, 100, 500))},
        {"top_p": draw.choice((0.7, 0.95))},
        {"typical_p": 0.9},
        {"min_p": 0.05},
        {"temperature": draw.choice((0.5, 1.4))},
        {"repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 3},
        {"presence_penalty": 0.5},
        {"do_sample": False},
        {"num_return_sequences": 3},
        {"logprobs": 2},
        {"prompt_logprobs": 1},
    ]
    for option in draw.sample(options, 3):
        asked |= option
    if not asked.get("do_sample", True):
        asked.pop("num_return_sequences", None)
    return ask(prompt, **asked)


@pytest.mark.parametrize(
    ("model", "precision", "threads", "count"),
    [
        ("bundled", "float32", 1, 60),
        ("bundled", "float32", 2, 20),
        ("bundled", "float16", 1, 30),
        ("bundled", "int8", 1, 30),
        ("bundled", "bfloat16", 1, 30),
        ("random:distilgpt2", "float32", 2, 8),
    ],
)
def test_the_same_seed_gives_the_same_text_alone_and_in_company(
    model: str, precision: Precision, threads: int, count: int
) -> None:
    if precision in ("float16", "int8") and not fbgemm.available():
        pytest.skip(f"{precision} needs FBGEMM")
    before = torch.get_num_threads()
    settings = Settings(model=model, precision=precision, max_rows=32, threads=threads)
    engine = load_engine(settings)
    assert engine.model.info.reproducible
    done = run(engine, {str(n): mixed(n) for n in range(count)}, arrivals=random.Random(4))
    for number in range(count):
        alone = run(engine, {"key": mixed(number)})["key"]
        assert alone.result == done[str(number)].result, number
    torch.set_num_threads(before)


def bulk(number: int) -> JobRequest:
    """A bulk job of random length and parameters; every third has three sequences."""
    draw = random.Random(number)
    prompt = tuple(draw.randrange(1, 8192) for _ in range(draw.randint(1, 300)))
    asked: dict[str, Any] = {"seed": number, "max_new_tokens": draw.randint(8, 24)}
    options: list[dict[str, Any]] = [
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        {"presence_penalty": 0.7, "frequency_penalty": 0.3},
        {"min_new_tokens": 6, "temperature": 1.5},
        {"logprobs": 3},
        {"prompt_logprobs": 1},
        {"top_k": 0, "top_p": 0.9},
        {"do_sample": False},
    ]
    for option in draw.sample(options, 3):
        asked |= option
    if number % 3 == 0:
        asked |= {"do_sample": True, "num_return_sequences": 3}
    request = ask(prompt, **asked)
    return request.model_copy(update={"priority": Priority.BULK})


def urgent(number: int) -> JobRequest:
    prompt = "Once upon a time " * (1 + 40 * (number % 2))
    request = ask(prompt, seed=number, max_new_tokens=1 + number % 6)
    return request.model_copy(update={"priority": Priority.INTERACTIVE})


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_bulk_rows_that_were_paused_give_the_results_of_rows_that_were_not(
    precision: Precision,
) -> None:
    if precision != "float32" and not fbgemm.available():
        pytest.skip(f"{precision} needs FBGEMM")
    settings = Settings(
        model="bundled", precision=precision, max_rows=6, max_batch_tokens=2560, threads=1
    )
    engine = load_engine(settings)
    requests = {str(number): bulk(number) for number in range(24)}
    undisturbed = run(engine, requests)
    assert engine.stats.paused == 0
    for key, request in requests.items():
        engine.submit(key, request)
    disturbed: dict[str, Outcome] = {}
    draw, arrived = random.Random(6), 0
    while not disturbed.keys() >= requests.keys():
        if draw.random() < 0.4:
            engine.submit(f"urgent{arrived}", urgent(arrived))
            arrived += 1
        disturbed.update(engine.step())
    stats = engine.stats
    assert stats.paused >= 20
    assert stats.row_steps - stats.generated_tokens >= 50, "many tokens were replayed"
    for key in requests:
        assert disturbed[key].result == undisturbed[key].result, key
        assert disturbed[key].usage == undisturbed[key].usage, key


def test_log_probabilities_equal_those_of_transformers(
    engine: Engine, reference: GPT2LMHeadModel
) -> None:
    [prompt] = random_prompts(1, seed=5)
    text = only_text(run(engine, {"key": ask(prompt, logprobs=3, prompt_logprobs=2)})["key"])
    assert text.logprobs is not None
    assert text.prompt_logprobs is not None
    both = text.prompt_logprobs + text.logprobs
    with torch.inference_mode():
        logs = reference(torch.tensor([[each.id for each in both]])).logits[0].log_softmax(-1)
    assert [each.id for each in text.prompt_logprobs] == list(prompt)
    for place, each in enumerate(both[1:]):
        assert each.logprob == pytest.approx(logs[place, each.id].item(), abs=2e-3)
        best = logs[place].topk(len(each.top)).values.tolist()
        assert [other.logprob for other in each.top] == pytest.approx(best, abs=2e-3)


def test_sampled_texts_differ_by_sequence_and_repeat_by_seed(engine: Engine) -> None:
    request = ask("Once upon a time", num_return_sequences=8, logprobs=None)
    first, again = run(engine, {"a": request, "b": request}).values()
    assert first.result is not None
    assert first.result == again.result
    assert len({text.generated_text for text in first.result[0]}) == 8
    other = run(engine, {"c": ask("Once upon a time", seed=2, logprobs=None)})["c"]
    assert only_text(other).generated_text != first.result[0][0].generated_text


def test_a_text_prompt_comes_back_as_it_was(engine: Engine) -> None:
    prompt = "  Ein “schöner” Tag , don't  you think ?\n\n→ "
    text = only_text(run(engine, {"key": ask(prompt, do_sample=False)})["key"])
    assert text.generated_text.startswith(prompt)
    assert text.logprobs is not None
    tail = engine.tokenizer.decode([each.id for each in text.logprobs])
    assert text.generated_text == prompt + tail


def test_a_stop_string_ends_a_real_text_where_it_first_appears(engine: Engine) -> None:
    whole = only_text(run(engine, {"key": ask("Once upon a time", return_full_text=False)})["key"])
    stop = whole.generated_text[10:14]
    request = ask("Once upon a time", return_full_text=False, stop=(stop, "no such text"))
    cut = only_text(run(engine, {"key": request})["key"])
    assert cut.stop == stop
    assert cut.generated_text == whole.generated_text[: whole.generated_text.index(stop)]
    assert cut.generated_tokens <= whole.generated_tokens
