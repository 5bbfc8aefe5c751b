from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import logits_process as theirs

from tests.unit.rows import make_row
from worker import processors, sampling
from worker.random_numbers import philox, uniforms
from worker.rows import Row
from worker.sampling import Filters, Group, Sampler

VOCABULARY = 500
END = 3


def random_logits(rows: int, seed: int, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 4


def filtered(logits: Tensor, **asked: Any) -> Tensor:
    """What the rows' filters leave, in the vocabulary's order."""
    rows = [make_row([1], **asked) for _ in logits]
    filters = Filters.of(rows[0], logits.shape[1])
    assert filters is not None
    group = Group(filters, list(range(len(rows))), rows, "cpu")
    scores, ids = group._candidates(logits)
    scores = group._filtered(processors.temperature(scores, group.temperature))
    if ids is None:
        return scores
    return torch.full_like(logits, -torch.inf).scatter(-1, ids, scores)


def edited(logits: Tensor, row: Row) -> Tensor:
    scores = logits.clone()
    sampling.edit(scores[0], row, [END])
    return scores


FILTERS = [
    ({"temperature": 0.7}, [theirs.TemperatureLogitsWarper(0.7)]),
    ({"top_k": 7}, [theirs.TopKLogitsWarper(7)]),
    ({"top_k": 130}, [theirs.TopKLogitsWarper(130)]),
    ({"top_k": 9999}, [theirs.TopKLogitsWarper(9999)]),
    ({"top_p": 0.8}, [theirs.TopPLogitsWarper(0.8)]),
    ({"top_p": 1e-6}, [theirs.TopPLogitsWarper(1e-6)]),
    ({"min_p": 0.1}, [theirs.MinPLogitsWarper(0.1)]),
    ({"min_p": 1.0}, [theirs.MinPLogitsWarper(1.0)]),
    ({"typical_p": 0.6}, [theirs.TypicalLogitsWarper(0.6)]),
    (
        {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.95},
        [
            theirs.TemperatureLogitsWarper(1.3),
            theirs.TopKLogitsWarper(40),
            theirs.TopPLogitsWarper(0.9),
            theirs.MinPLogitsWarper(0.02),
            theirs.TypicalLogitsWarper(0.95),
        ],
    ),
    ({"top_k": 5, "top_p": 0.5}, [theirs.TopKLogitsWarper(5), theirs.TopPLogitsWarper(0.5)]),
]


@pytest.mark.parametrize(("asked", "warpers"), FILTERS, ids=lambda each: str(each)[:60])
def test_filters_equal_those_of_transformers(asked: dict[str, Any], warpers: list[Any]) -> None:
    logits = random_logits(64, seed=5)
    none_before: Any = torch.zeros(64, 1, dtype=torch.long)
    scores: Any = logits
    expected = LogitsProcessorList(warpers)(none_before, scores)
    found = filtered(logits, **({"top_k": 0} | asked))
    assert torch.equal(found.isinf(), expected.isinf())
    torch.testing.assert_close(found, expected)


def test_ties_with_the_last_of_top_k_are_kept_as_in_transformers() -> None:
    logits = random_logits(8, seed=6).round()
    expected = theirs.TopKLogitsWarper(5)(torch.zeros(8, 1, dtype=torch.long), logits)
    assert torch.equal(filtered(logits, top_k=5), expected)


HISTORIES = [
    ([5, 6, 7, 5, 6], [8, 5, 6]),
    ([1], []),
    ([9, 9, 9, 9], [9]),
    (list(range(40)), [7, 8, 9] * 5),
]


@pytest.mark.parametrize(("prompt", "tokens"), HISTORIES)
@pytest.mark.parametrize("penalty", [0.5, 1.2, 50.0])
def test_the_repetition_penalty_equals_that_of_transformers(
    prompt: list[int], tokens: list[int], penalty: float
) -> None:
    logits = random_logits(1, seed=7)
    row = make_row(prompt, tokens, repetition_penalty=penalty)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(
        torch.tensor([prompt + tokens]), logits.clone()
    )
    torch.testing.assert_close(edited(logits, row), expected)


@pytest.mark.parametrize(("prompt", "tokens"), HISTORIES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 60])
def test_banned_ngrams_equal_those_of_transformers(
    prompt: list[int], tokens: list[int], size: int
) -> None:
    logits = random_logits(1, seed=8)
    row = make_row(prompt, tokens, no_repeat_ngram_size=size)
    expected = theirs.NoRepeatNGramLogitsProcessor(size)(torch.tensor([prompt + tokens]), logits)
    assert torch.equal(edited(logits, row), expected)


@pytest.mark.parametrize("new", range(6))
def test_least_lengths_equal_those_of_transformers(new: int) -> None:
    prompt, tokens = [10, 11, 12], [13] * new
    ids = torch.tensor([prompt + tokens])
    logits = random_logits(1, seed=9)
    expected = theirs.MinLengthLogitsProcessor(6, END)(ids, logits)
    assert torch.equal(edited(logits, make_row(prompt, tokens, min_length=6)), expected)
    expected = theirs.MinNewTokensLengthLogitsProcessor(3, 4, END)(ids, logits)
    assert torch.equal(edited(logits, make_row(prompt, tokens, min_new_tokens=4)), expected)


def test_presence_and_frequency_count_new_tokens_only() -> None:
    logits = random_logits(1, seed=10)
    row = make_row([5, 6], [7, 7, 8], presence_penalty=0.5, frequency_penalty=0.25)
    expected = logits.clone()
    expected[0, 7] -= 0.5 + 2 * 0.25
    expected[0, 8] -= 0.5 + 0.25
    torch.testing.assert_close(edited(logits, row), expected)


def test_a_bias_is_added_to_the_logits() -> None:
    logits = random_logits(1, seed=11)
    row = make_row([5], logit_bias={"4": 2.5, "499": -100.0})
    expected = logits.clone()
    expected[0, 4] += 2.5
    expected[0, 499] -= 100
    assert torch.equal(edited(logits, row), expected)


def test_philox_gives_the_numbers_of_its_authors() -> None:
    """The known answers that Random123 ships for philox4x32, 10 rounds."""

    def answer(counter: list[int], key: list[int]) -> list[int]:
        words = philox(
            [np.array([word], dtype=np.uint64) for word in counter],
            [np.array([word], dtype=np.uint64) for word in key],
        )
        return [int(word[0]) for word in words]

    assert answer([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert answer([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert answer(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_random_numbers_are_uniform_and_differ_by_every_part_of_their_counter() -> None:
    def numbers(**changed: int) -> Any:
        base = {"seeds": 2**63 + 5, "inputs": 0, "sequences": 0, "steps": 0} | changed
        columns = {name: np.full(2000, value, dtype=np.uint64) for name, value in base.items()}
        columns["steps"] += np.arange(2000, dtype=np.uint64)
        return uniforms(**columns)

    drawn = numbers()
    assert 0 <= drawn.min() < drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert ((counts - 100) ** 2 / 100).sum() < chi_square_limit(19)
    for part in ("seeds", "inputs", "sequences", "steps"):
        assert not np.array_equal(numbers(**{part: 1}), drawn), part


def chi_square_limit(freedom: int) -> float:
    """Exceeded once in 10,000 by chance (Wilson and Hilferty 1931)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(
    "asked",
    [
        {"top_k": 0},
        {"top_k": 12},
        {"top_k": 0, "top_p": 0.8},
        {"top_k": 30, "top_p": 0.9, "temperature": 1.7},
        {"top_k": 0, "typical_p": 0.7},
        {"top_k": 0, "min_p": 0.05, "temperature": 0.6},
    ],
    ids=str,
)
def test_tokens_are_drawn_with_their_exact_probabilities(asked: dict[str, Any]) -> None:
    draws = 20_000
    logits = random_logits(1, seed=12, vocabulary=40) / 3
    expected = filtered(logits, **asked)[0].double().softmax(-1) * draws
    sampler = Sampler(40, [END])
    row_count = 500
    rows = [make_row([1], sequence=n, **asked) for n in range(row_count)]
    counts: Counter[int] = Counter()
    for _ in range(draws // row_count):
        tokens = sampler.sample(logits.expand(row_count, -1).clone(), rows).tokens
        counts.update(tokens)
        for row, token in zip(rows, tokens, strict=True):
            row.tokens.append(token)
    assert sum(counts[token] for token in range(40) if expected[token] == 0) == 0
    common = [token for token in range(40) if expected[token] >= 5]
    rare = draws - sum(expected[token].item() for token in common)
    found_rare = draws - sum(counts[token] for token in common)
    distance = sum((counts[t] - expected[t].item()) ** 2 / expected[t].item() for t in common)
    if rare > 5:
        distance += (found_rare - rare) ** 2 / rare
    assert distance < chi_square_limit(len(common))


def test_greedy_takes_the_likeliest_token_whatever_the_filters() -> None:
    logits = random_logits(4, seed=13)
    expected = logits.argmax(-1).tolist()
    rows = [make_row([1], do_sample=False, top_p=0.1, temperature=0.1) for _ in range(4)]
    assert Sampler(VOCABULARY, [END]).sample(logits, rows).tokens == expected


def test_a_row_draws_the_same_token_beside_any_neighbours() -> None:
    draw = random.Random(14)
    choices: list[dict[str, Any]] = [
        {},
        {"top_k": 0},
        {"top_k": 0, "top_p": 0.9},
        {"top_k": 200, "min_p": 0.01},
        {"do_sample": False},
        {"repetition_penalty": 1.3, "typical_p": 0.9},
        {"logprobs": 3, "frequency_penalty": 0.4},
        {"logprobs": 0},
        {"temperature": 0.01},
        {"temperature": 100.0, "top_k": 1000},
    ]
    rows = [make_row([1, 2], [n], seed=n, **draw.choice(choices)) for n in range(90)]
    logits = random_logits(90, seed=15, vocabulary=5000)
    alone = [
        Sampler(5000, [END]).sample(logits[n : n + 1].clone(), rows[n : n + 1]) for n in range(90)
    ]
    together = Sampler(5000, [END]).sample(logits.clone(), rows)
    assert together.tokens == [each.tokens[0] for each in alone]
    for number, found in together.candidates.items():
        assert found == alone[number].candidates[0]


def test_log_probabilities_come_from_the_logits_before_any_processing() -> None:
    logits = random_logits(2, seed=16)
    logs = logits.double().log_softmax(-1)
    rows = [
        make_row([1], logprobs=2, temperature=0.1, logit_bias={"9": 100.0}),
        make_row([1], best_of=2),
    ]
    draws = Sampler(VOCABULARY, [END]).sample(logits, rows)
    assert draws.tokens[0] == 9
    first = draws.candidates[0]
    assert first.logprob == pytest.approx(logs[0, 9].item(), abs=1e-4)
    best = logs[0].topk(2)
    assert [token for token, _ in first.top] == best.indices.tolist()
    assert [value for _, value in first.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert draws.candidates[1].logprob == pytest.approx(logs[1, draws.tokens[1]].item(), abs=1e-4)


def test_a_row_that_cannot_be_edited_is_named_and_the_others_are_drawn() -> None:
    logits = torch.randn(2, VOCABULARY)
    rows = [make_row([1], logit_bias={"999999": 1.0}), make_row([1], do_sample=False)]
    draws = Sampler(VOCABULARY, [END]).sample(logits, rows)
    assert list(draws.failed) == [0]
    assert draws.tokens[1] == int(logits[1].argmax())


def test_all_end_tokens_are_forbidden_until_the_least_length() -> None:
    row = make_row([1], min_length=9, do_sample=False)
    logits = torch.zeros(1, VOCABULARY)
    logits[0, [3, 7, END]] = 9.0
    logits[0, 5] = 1.0
    assert Sampler(VOCABULARY, [3, 7, END]).sample(logits, [row]).tokens == [5]


def test_extreme_parameters_still_draw_a_token() -> None:
    logits = random_logits(1, seed=17)
    best = int(logits.argmax())
    extremes: list[dict[str, Any]] = [
        {"temperature": 1e-300},
        {"repetition_penalty": 1e-300},
        {"top_p": 1e-300},
    ]
    for asked in extremes:
        [token] = (
            Sampler(VOCABULARY, [END]).sample(logits.clone(), [make_row([best], **asked)]).tokens
        )
        assert 0 <= token < VOCABULARY
    [token] = (
        Sampler(VOCABULARY, [END])
        .sample(logits.clone(), [make_row([1], temperature=1e-300)])
        .tokens
    )
    assert token == best
