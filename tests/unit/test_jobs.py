"""The wire format: what is accepted, what it means, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distilq import keys
from distilq.jobs import ID_PATTERN, JobRequest, new_id
from distilq.parameters import Parameters


def parse(**fields: Any) -> JobRequest:
    return JobRequest.model_validate_json(json.dumps({"inputs": "a", **fields}))


@pytest.mark.parametrize(
    ("inputs", "prompts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ({"input_string": ["a", "b"]}, ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        ("", ("",)),
    ],
)
def test_every_form_of_inputs_comes_to_prompts(inputs: Any, prompts: Any) -> None:
    assert parse(inputs=inputs).prompts == prompts


@pytest.mark.parametrize(
    "inputs",
    [[], [[]], {"input_string": []}, {"input_string": "a"}, {}, 3, None, [1, "a"], ["a", 3], "\0"],
)
def test_inputs_of_no_known_form_are_refused(inputs: Any) -> None:
    with pytest.raises(ValidationError):
        parse(inputs=inputs)


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"top_p": 0},
        {"top_p": 1.01},
        {"max_new_tokens": True},
        {"max_new_tokens": "3"},
        {"max_new_tokens": 1025},
        {"seed": -1},
        {"seed": 2**64},
        {"logit_bias": {"a": 1}},
        {"logit_bias": {"1": 101}},
        {"stop": [""]},
        {"do_sample": False, "num_return_sequences": 2},
        {"best_of": 1, "num_return_sequences": 2},
        {"min_length": 3, "max_length": 2},
        {"min_new_tokens": 3, "max_new_tokens": 2},
        {"min_new_tokens": 51},
        {"max_new_tokens": 20.5},
        {"logit_bias": {"010": 1}},
        {"logit_bias": {"\u0661": 1}},
        {"logit_bias": {"1": -101}},
        {"num_beams": 4},
    ],
)
def test_parameters_out_of_range_or_unknown_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(parameters=parameters)


def test_a_job_has_at_most_128_rows() -> None:
    assert parse(inputs=["a"] * 64, parameters={"best_of": 2}).rows == 128
    with pytest.raises(ValidationError, match="inputs times sequences is 130"):
        parse(inputs=["a"] * 65, parameters={"best_of": 2})


def test_defaults_and_the_seed_are_written_down_once() -> None:
    resolved = Parameters().resolved()
    assert resolved.max_new_tokens == 50
    assert resolved.seed is not None
    assert 0 <= resolved.seed < 2**53
    assert resolved.resolved() == resolved
    assert Parameters(max_length=30).resolved().max_new_tokens is None


def test_a_whole_number_may_be_written_with_a_point() -> None:
    request = parse(parameters={"max_new_tokens": 20.0, "top_k": 5e0}, result_ttl_s=60.0)
    assert (request.parameters.max_new_tokens, request.parameters.top_k) == (20, 5)
    assert request.result_ttl_s == 60


def test_a_seed_of_64_bits_survives_the_record() -> None:
    request = parse(parameters={"seed": 2**64 - 1})
    assert JobRequest.model_validate_json(request.model_dump_json()) == request


def test_the_cost_counts_prompts_once_and_new_tokens_per_row() -> None:
    parameters = {"max_new_tokens": 7, "num_return_sequences": 2}
    request = parse(inputs=["abcd", "ü"], parameters=parameters)
    assert request.cost == (2 + 1) + 4 * 7


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50))
def test_any_text_without_nul_is_a_prompt(text: str) -> None:
    assert parse(inputs=text).prompts == (text,)


def test_ids_are_32_hexadecimal_digits() -> None:
    assert ID_PATTERN.fullmatch(new_id())


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("bundled", "bundled"),
        ("random:distilgpt2", "random-distilgpt2"),
        ("/models/My Model/", "my-model"),
        ("distilbert/distilgpt2", "distilgpt2"),
        ("/", "model"),
    ],
)
def test_the_slug_of_a_model_fits_into_a_queue_name(model: str, slug: str) -> None:
    assert keys.slug(model) == slug


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"min_new_tokens": 50},
        {"min_new_tokens": 100, "max_length": 200},
        {"max_length": 5, "min_length": 5},
        {"max_new_tokens": 0},
        {"temperature": 5e-324, "seed": 2**64 - 1, "logit_bias": {"7": -100}},
    ],
)
def test_what_is_accepted_can_be_read_again_once_it_is_resolved(parameters: dict[str, Any]) -> None:
    resolved = parse(parameters=parameters).resolved()
    assert JobRequest.model_validate_json(resolved.model_dump_json()) == resolved
