"""The training script, on a corpus and a model small enough to learn from in seconds."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from worker.models import train

PEOPLE = ("the old captain", "her youngest sister", "a tired doctor", "the good king")
DEEDS = ("walked along", "looked back at", "had never forgotten", "was afraid of")
PLACES = ("the silent harbour", "the house by the river", "that narrow road", "the great forest")


def document(seed: int, sentences: int = 150) -> str:
    choose = random.Random(seed).choice
    return " ".join(
        f"One day {choose(PEOPLE)} {choose(DEEDS)} {choose(PLACES)}." for _ in range(sentences)
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "books.txt"
    path.write_text(train.END.join(document(seed) for seed in range(6)))
    return path


def run(corpus: Path, output: Path, steps: int, *more: str) -> Path:
    options = f"--steps {steps} --held-out 1 --width 64 --vocabulary 320 --batch-tokens 512"
    lengths = "--length 64 --long-length 128 --threads 1"
    train.main([str(corpus), str(output), *options.split(), *lengths.split(), *more])
    return output


def loss_of(folder: Path, text: str) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(model, GPT2LMHeadModel)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return train.evaluate(model, tokenizer, train.tokenize([text], tokenizer), 1)[0]


def test_training_lowers_the_loss_and_what_it_writes_loads(corpus: Path, tmp_path: Path) -> None:
    unseen = document(seed=99)
    first = run(corpus, tmp_path / "first", 1)
    second = run(corpus, tmp_path / "second", 40)
    assert loss_of(first, unseen) > 4
    assert loss_of(second, unseen) < loss_of(first, unseen) / 2


def test_training_goes_on_from_given_weights_and_tokenizer(corpus: Path, tmp_path: Path) -> None:
    unseen = document(seed=99)
    first = run(corpus, tmp_path / "first", 20)
    second = run(corpus, tmp_path / "second", 20, "--init", str(first))
    assert loss_of(second, unseen) < loss_of(first, unseen)
    assert (second / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()


def test_a_checkpoint_replaces_the_last_one_and_leaves_nothing_else(
    corpus: Path, tmp_path: Path
) -> None:
    run(corpus, tmp_path, 1)
    before = {file.name for file in tmp_path.iterdir()}
    run(corpus, tmp_path, 1)
    assert {file.name for file in tmp_path.iterdir()} == before
    assert before == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }


def test_the_same_documents_are_held_out_every_time(corpus: Path) -> None:
    training, held_out = train.read_documents(corpus, 2)
    assert (len(training), len(held_out)) == (4, 2)
    assert not set(training) & set(held_out)
    assert train.read_documents(corpus, 2) == (training, held_out)


def test_typographic_marks_become_ascii(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\r\n\ufeff\u201cIt\u2019s late\u201d \u2014 he said\u2026", encoding="utf-8")
    assert train.read_documents(path, 0) == (['\n"It\'s late" -- he said...'], [])


def test_the_training_loss_is_the_mean_over_all_predicted_tokens() -> None:
    tokenizer = train.train_tokenizer([document(0)], 300)
    model = train.new_model(64, tokenizer)
    rows = torch.randint(len(tokenizer), (9, 65))  # 576 tokens: a block of 512, and a rest
    with torch.inference_mode():
        found = train.training_loss(model, rows, torch.arange(64).expand(9, 64))
        logits = model(rows[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)


def test_an_orthogonalised_matrix_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(train.orthogonalise(torch.randn(3, 32, 64)))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_the_learning_rate_rises_stays_and_ends_at_zero() -> None:
    rates = [train.rate_at(step / 1000) for step in range(1001)]
    assert rates[0] < 0.02
    assert rates[20] == rates[400] == 1
    assert rates[:21] == sorted(rates[:21])
    assert rates[400:] == sorted(rates[400:], reverse=True)
    assert rates[-1] == 0


def test_one_pass_cuts_every_row_once_and_the_next_cuts_elsewhere() -> None:
    tokens = np.arange(1000, dtype=np.uint16)
    rows = train.batches(tokens, 100, 3, np.random.default_rng(0))
    first, second = (sorted(int(r) for _ in range(3) for r in next(rows)[0][:, 0]) for _ in "ab")
    assert len(set(first)) == 9
    assert {b - a for a, b in pairwise(first)} == {100}
    assert first != second


def test_short_rows_come_to_see_every_position() -> None:
    tokens = np.arange(20000, dtype=np.uint16)
    _, positions = next(train.batches(tokens, 64, 100, np.random.default_rng(0)))
    assert positions.min() == 0
    assert positions.max() > 1000
    assert positions.max() < train.POSITIONS
    assert (positions.diff() == 1).all()


def test_rows_of_full_length_begin_at_the_first_position() -> None:
    tokens = np.arange(5000, dtype=np.uint16)
    _, positions = next(train.batches(tokens, train.POSITIONS, 4, np.random.default_rng(0)))
    assert (positions == torch.arange(train.POSITIONS)).all()


def test_a_corpus_shorter_than_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        next(train.batches(np.arange(99, dtype=np.uint16), 50, 1, np.random.default_rng(0)))
