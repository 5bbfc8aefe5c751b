"""DistilGPT2's exact shape with GPT-2's real vocabulary, from a directory, through the same code.

The weights are random, so that none have to be fetched; the vocabulary is OpenAI's release (MIT),
which this repository does not ship: it is taken from `shared/gpt2-tokenizer` beside the checkout.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from distilq.jobs import JobRequest, Outcome
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine

VOCABULARY = Path(__file__).parents[3] / "shared" / "gpt2-tokenizer"
FILES = ("vocab.json", "merges.txt")
PROMPTS = ("My name is John and I am", "Once upon a time,")

pytestmark = pytest.mark.skipif(
    not all((VOCABULARY / name).is_file() for name in FILES),
    reason="GPT-2's vocabulary is not beside the checkout",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("distilgpt2")
    for name in FILES:
        shutil.copy(VOCABULARY / name, folder)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=6, dtype="float16")).save_pretrained(folder)
    return load_engine(Settings(model=str(folder), precision="float32", max_rows=8))


def run(engine: Engine, request: JobRequest) -> Outcome:
    engine.submit("job", request.resolved())
    while not (finished := engine.step()):
        pass
    return finished[0][1]


def test_the_shape_is_distilgpt2s(engine: Engine) -> None:
    info = engine.model.info
    assert (info.vocab_size, info.n_positions) == (50257, 1024)
    assert info.eos_token_ids == frozenset({50256})
    assert info.bos_token_id == 50256
    assert info.parameters == 81_912_576


def test_the_cards_prompts_encode_as_gpt2_does_and_decode_to_themselves(engine: Engine) -> None:
    encoded = [engine.tokenizer.encode(prompt) for prompt in PROMPTS]
    assert encoded == [[3666, 1438, 318, 1757, 290, 314, 716], [7454, 2402, 257, 640, 11]]
    assert [engine.tokenizer.decode(ids) for ids in encoded] == list(PROMPTS)


def test_the_cards_request_gives_two_texts_per_prompt_of_the_asked_length(engine: Engine) -> None:
    request = JobRequest.model_validate_json("""{
        "inputs": {"input_string": ["My name is John and I am", "Once upon a time,"]},
        "parameters": {"min_length": 20, "max_length": 30, "num_return_sequences": 2}}""")
    outcome = run(engine, request)
    assert outcome.error is None
    assert outcome.result is not None
    assert [len(texts) for texts in outcome.result] == [2, 2]
    for prompt, texts in zip(PROMPTS, outcome.result, strict=True):
        for text in texts:
            assert text.generated_text.startswith(prompt)
            length = len(engine.tokenizer.encode(prompt)) + text.generated_tokens
            assert 20 <= length <= 30
