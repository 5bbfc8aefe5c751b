"""POST /score in the forms that have been published for the model."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from distilq.jobs import Job
from distilq.parameters import Parameters
from distilq.testing import MemoryStore
from tests.unit.api_client import CARD_REQUEST, make_client

TEXTS = ["My name is John and I am", "Once upon a time,"]
AND_ON = [f"{text} and on" for text in TEXTS]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.on_wait = store.finish
    return store


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, max_wait_s=1)


def only_job(store: MemoryStore) -> Job:
    (job,) = store.page(None, 10, None).jobs
    return job


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            {"inputs": {"input_string": TEXTS}, "parameters": {}},
            [[{"generated_text": text}] for text in AND_ON],
        ),
        ({"inputs": TEXTS, "parameters": {}}, [[{"generated_text": text}] for text in AND_ON]),
        ({"input_data": {"input_string": TEXTS}}, [{"0": text} for text in AND_ON]),
        ({"input_data": TEXTS, "params": {}}, AND_ON),
        ({"input_data": TEXTS}, AND_ON),
    ],
    ids=["card", "hugging face", "older card", "mlflow", "mlflow without params"],
)
def test_each_form_of_request_has_its_form_of_answer(
    client: FlaskClient, body: dict[str, Any], answer: Any
) -> None:
    response = client.post("/score", json=body)
    assert response.status_code == 200
    assert response.get_json() == answer
    again = client.get(f"/v1/jobs/{response.headers['X-Job-Id']}/result")
    assert again.get_json() == [[{"generated_text": text}] for text in AND_ON]


def test_several_texts_per_input_have_their_place_in_every_form(client: FlaskClient) -> None:
    two = {"num_return_sequences": 2}
    records = client.post("/score", json={"input_data": {"input_string": TEXTS}, "params": two})
    assert records.get_json() == [{"0": text, "1": text} for text in AND_ON]
    flat = client.post("/score", json={"input_data": TEXTS, "params": two})
    assert flat.get_json() == [AND_ON[0], AND_ON[0], AND_ON[1], AND_ON[1]]


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": TEXTS, "params": {"top_k": 3}},
        {"input_data": TEXTS, "parameters": {"top_k": 3}},
        {"input_data": {"input_string": TEXTS}, "parameters": {"top_k": 3}},
        {"input_data": {"input_string": TEXTS, "parameters": {"top_k": 3}}},
    ],
)
def test_parameters_are_heard_wherever_they_stand(
    client: FlaskClient, store: MemoryStore, body: dict[str, Any]
) -> None:
    assert client.post("/score", json=body).status_code == 200
    assert only_job(store).parameters.top_k == 3


def test_the_older_forms_have_the_defaults_of_the_models_own_file(
    client: FlaskClient, store: MemoryStore
) -> None:
    client.post("/score", json={"input_data": TEXTS})
    found = only_job(store).parameters
    assert (found.top_p, found.temperature, found.max_new_tokens) == (1.0, 0.8, 50)
    assert (found.do_sample, found.return_full_text) == (True, True)


def test_what_is_given_goes_before_those_defaults(client: FlaskClient, store: MemoryStore) -> None:
    client.post("/score", json={"input_data": TEXTS, "params": {"temperature": 1.0}})
    assert only_job(store).parameters.temperature == 1.0


def test_max_length_is_not_overruled_by_a_default(client: FlaskClient, store: MemoryStore) -> None:
    client.post("/score", json={"input_data": TEXTS, "params": {"max_length": 30}})
    assert only_job(store).parameters.max_new_tokens is None


def test_the_present_card_keeps_its_own_defaults(client: FlaskClient, store: MemoryStore) -> None:
    client.post("/score", json=CARD_REQUEST)
    found, plain = only_job(store).parameters, Parameters()
    assert (found.temperature, found.top_k, found.top_p) == (
        *(plain.temperature, plain.top_k, plain.top_p),
    )


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "#/inputs", "missing"),
        ({"instances": TEXTS}, "#/instances", "unknown_field"),
        ({"inputs": TEXTS, "input_data": TEXTS}, "#/inputs", "conflict"),
        ({"inputs": TEXTS, "params": {}}, "#/params", "unknown_field"),
        ({"input_data": "one text"}, "#/input_data", "wrong_type"),
        ({"input_data": []}, "#/input_data", "out_of_range"),
        ({"input_data": {}}, "#/input_data/input_string", "missing"),
        ({"input_data": {"input_string": [1]}}, "#/input_data/input_string/0", "wrong_type"),
        ({"input_data": {"columns": ["a"], "data": []}}, "#/input_data/columns", "unknown_field"),
        ({"input_data": TEXTS, "params": {"top_p": 2}}, "#/params/top_p", "out_of_range"),
        ({"input_data": TEXTS, "params": {"topk": 2}}, "#/params/topk", "unknown_field"),
        ({"input_data": TEXTS, "params": {}, "parameters": {}}, "#/parameters", "conflict"),
        ({"input_data": ["a"] * 3, "params": {"best_of": 64}}, "#/input_data", "conflict"),
    ],
)
def test_what_is_of_no_form_is_refused_where_it_is_wrong(
    client: FlaskClient, store: MemoryStore, body: dict[str, Any], pointer: str, code: str
) -> None:
    response = client.post("/score", json=body)
    assert response.status_code == 422
    errors = response.get_json()["errors"]
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in errors]
    assert store.page(None, 10, None).jobs == []


def test_a_body_that_is_no_object_is_told_so(client: FlaskClient) -> None:
    response = client.post("/score", json=["a"])
    assert response.get_json()["errors"] == [
        {"pointer": "#", "code": "wrong_type", "detail": "must be an object"}
    ]


def test_input_data_that_is_neither_form_is_told_both(client: FlaskClient) -> None:
    (error,) = client.post("/score", json={"input_data": "a"}).get_json()["errors"]
    assert error["detail"] == 'must be texts, or {"input_string": texts}'
