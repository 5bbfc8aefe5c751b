"""The model that ships with the package: whole, small, loadable by plain transformers, trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel
from transformers import PreTrainedTokenizerFast as Tokenizer

import worker.models

BUNDLED = Path(worker.models.__file__).parent / "bundled"
WEIGHTS = BUNDLED / "model.safetensors"
# Joseph Conrad, Heart of Darkness (1899); no book of his is among the training data.
PASSAGE = (
    "The sea-reach of the Thames stretched before us like the beginning of an interminable "
    "waterway. In the offing the sea and the sky were welded together without a joint, and in the "
    "luminous space the tanned sails of the barges drifting up with the tide seemed to stand still "
    "in red clusters of canvas sharply peaked, with gleams of varnished spirits. A haze rested on "
    "the low shores that ran out to sea in vanishing flatness. The air was dark above Gravesend, "
    "and farther back still seemed condensed into a mournful gloom, brooding motionless over the "
    "biggest, and the greatest, town on earth."
)


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    loaded = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)
    assert isinstance(loaded, GPT2LMHeadModel)
    return loaded


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    loaded = AutoTokenizer.from_pretrained(BUNDLED)
    assert isinstance(loaded, Tokenizer)
    return loaded


def perplexity(model: GPT2LMHeadModel, ids: torch.Tensor, first_position: int = 0) -> float:
    positions = torch.arange(first_position, first_position + ids.shape[1])[None]
    with torch.inference_mode():
        logits = model(ids, position_ids=positions).logits
    return float(torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).exp())


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
def test_every_file_of_the_model_is_there(name: str) -> None:
    assert (BUNDLED / name).is_file()


def test_the_weights_take_at_most_24_megabytes() -> None:
    assert WEIGHTS.stat().st_size <= 24_000_000


def test_all_weights_are_half_precision_and_finite() -> None:
    with safe_open(WEIGHTS, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a dict
            tensor = weights.get_tensor(name)
            assert tensor.dtype == torch.float16, name
            assert tensor.isfinite().all(), name


def test_it_has_the_shape_of_distilgpt2_but_narrower(model: GPT2LMHeadModel) -> None:
    assert model.config.model_type == "gpt2"
    assert model.config.n_layer == 6
    assert model.config.n_positions == 1024
    assert model.config.n_embd < 768
    assert model.transformer.wte.weight is model.lm_head.weight


def test_the_tokenizer_fits_the_model(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> None:
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.model_max_length == model.config.n_positions
    assert tokenizer.eos_token == tokenizer.bos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.bos_token_id == model.config.bos_token_id


@pytest.mark.parametrize(
    "text",
    [
        "My name is John and I am",
        "  two spaces,\n\nan empty line,\ta tab ",
        "Crème brûlée, naïve, Ångström",
        "Grüße 👋🏽 from 東京 — здравствуйте",
        "\x00\x7f\u200b\ufeff",
        "",
    ],
)
def test_every_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_it_reads_english_prose_far_better_than_random_weights(
    model: GPT2LMHeadModel, tokenizer: Tokenizer
) -> None:
    ids = tokenizer(PASSAGE, return_tensors="pt")["input_ids"]
    assert perplexity(model, ids) < 250


def test_the_last_positions_are_trained_too(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> None:
    ids = tokenizer(PASSAGE, return_tensors="pt")["input_ids"]
    assert perplexity(model, ids, first_position=1024 - ids.shape[1]) < 250


def test_generation_goes_on_in_english(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> None:
    prompt = tokenizer("My name is John and I am", return_tensors="pt")
    ids = model.generate(  # type: ignore[misc] # transformers declares self as a protocol
        **prompt, max_new_tokens=8, do_sample=False
    )
    text = str(tokenizer.decode(ids[0]))
    assert text.startswith("My name is John and I am")
    assert len(text) > len("My name is John and I am")
    assert text.isascii()
