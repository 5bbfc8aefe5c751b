"""What a request body may be, and what is said of one that may not."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.invalid import pointer
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client

DEEP = 10_000


@pytest.fixture
def client() -> FlaskClient:
    return make_client(MemoryStore(), max_body_bytes=100_000)


def post(client: FlaskClient, body: bytes | str, content_type: str = "application/json"):  # type: ignore[no-untyped-def]  # werkzeug's TestResponse, whose JSON is anything
    return client.post("/v1/jobs", data=body, content_type=content_type)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
)
def test_json_is_taken_however_its_type_is_spelt(client: FlaskClient, content_type: str) -> None:
    assert post(client, '{"inputs": "a"}\n', content_type).status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
    ],
)
def test_anything_else_is_415(client: FlaskClient, content_type: str) -> None:
    response = post(client, '{"inputs": "a"}', content_type)
    assert response.status_code == 415
    assert response.get_json()["type"] == "urn:distilq:problem:unsupported_media_type"


def test_a_body_without_a_content_type_is_415(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", data=b'{"inputs": "a"}').status_code == 415


def test_a_compressed_body_is_415(client: FlaskClient) -> None:
    body = gzip.compress(b'{"inputs": "a"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.post("/v1/jobs", data=body, headers=headers).status_code == 415


def test_a_body_over_the_limit_is_413_and_names_it(client: FlaskClient) -> None:
    body = json.dumps({"inputs": ["x" * 60_000] * 2})
    response = post(client, body)
    assert response.status_code == 413
    assert response.get_json()["max_bytes"] == 100_000


def test_the_limit_holds_for_a_chunked_body_too(client: FlaskClient) -> None:
    for size, status in ((1_000, 202), (60_000, 413)):
        body = json.dumps({"inputs": ["x" * size] * 2}).encode()
        response = client.post(
            "/v1/jobs",
            input_stream=io.BytesIO(body),
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        )
        assert response.status_code == status


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        (b"", 1, 0),
        (b'{"inputs": "a"', 1, 14),
        (b'{"inputs":\n "a",}', 2, 6),
        (b'{"inputs": "\xff"}', 1, 13),
        (b'{"inputs": "\\ud800"}', 1, 19),
        (b'{"inputs": "a"} {}', 1, 17),
        (b"[" * DEEP, 1, 202),
        (b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}", 1, 212),
        (b'{"inputs": "a", "seed": ' + b"9" * 5_000 + b"}", 1, 4_326),
    ],
    ids=[
        "empty",
        "cut off",
        "trailing comma",
        "not UTF-8",
        "half a surrogate pair",
        "two values",
        "deep",
        "deep inside",
        "huge number",
    ],
)
def test_broken_json_is_400_with_its_place(
    client: FlaskClient, body: bytes, line: int, column: int
) -> None:
    response = post(client, body)
    problem = response.get_json()
    assert response.status_code == 400
    assert problem["type"] == "urn:distilq:problem:malformed_json"
    assert (problem["line"], problem["column"]) == (line, column)


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "3", "true"])
def test_json_that_is_no_object_is_422(client: FlaskClient, body: str) -> None:
    response = post(client, body)
    assert response.status_code == 422
    assert response.get_json()["errors"] == [
        {"pointer": "#", "code": "wrong_type", "detail": "must be an object"}
    ]


@pytest.mark.parametrize(
    ("body", "column"),
    [
        ('{"inputs": "a", "priority": "bulk", "priority": "interactive"}', 48),
        ('{"inputs": "a", "metadata": {"a": "1", "a": "1"}}', 44),
    ],
)
def test_two_equal_keys_are_400_with_their_place(
    client: FlaskClient, body: str, column: int
) -> None:
    response = post(client, body)
    problem = response.get_json()
    assert (response.status_code, problem["column"]) == (400, column)
    assert "duplicate key" in problem["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_is_infinite(client: FlaskClient, number: str) -> None:
    for field in ("temperature", "top_p", "presence_penalty"):
        response = post(client, f'{{"inputs": "a", "parameters": {{"{field}": {number}}}}}')
        assert response.status_code == 422
        assert response.get_json()["errors"][0]["code"] == "out_of_range"
    bias = f'{{"inputs": "a", "parameters": {{"logit_bias": {{"1": {number}}}}}}}'
    assert post(client, bias).status_code == 422


@pytest.mark.parametrize(
    ("body", "where", "code", "detail"),
    [
        ({}, "#/inputs", "missing", "is required"),
        ({"inputs": "a", "input": "b"}, "#/input", "unknown_field", "there is no such field"),
        (
            {"inputs": 3},
            "#/inputs",
            "wrong_type",
            'must be a text, texts, token ids, or {"input_string": texts}',
        ),
        ({"inputs": []}, "#/inputs", "out_of_range", "must have at least 1 item"),
        ({"inputs": ["a"] * 129}, "#/inputs", "out_of_range", "must have at most 128 items"),
        ({"inputs": ["a", 1]}, "#/inputs/1", "wrong_type", "must be a string"),
        ({"inputs": [1, "a"]}, "#/inputs/1", "wrong_type", "must be an integer"),
        ({"inputs": [1, -1]}, "#/inputs/1", "out_of_range", "must be >= 0"),
        ({"inputs": [[1], []]}, "#/inputs/1", "out_of_range", "must have at least 1 item"),
        (
            {"inputs": {"input_string": "a"}},
            "#/inputs/input_string",
            "wrong_type",
            "must be an array",
        ),
        (
            {"inputs": {"input_string": ["a\0"]}},
            "#/inputs/input_string/0",
            "invalid",
            "must not contain NUL",
        ),
        (
            {"inputs": "x" * 65_537},
            "#/inputs",
            "out_of_range",
            "must have at most 65536 characters",
        ),
        ({"inputs": "a", "parameters": []}, "#/parameters", "wrong_type", "must be an object"),
        (
            {"inputs": "a", "stream": True, "parameters": {"best_of": 2}},
            "#/stream",
            "conflict",
            "which of best_of texts are returned is known only at the end",
        ),
        (
            {"inputs": "a", "stream": 0},
            "#/stream",
            "wrong_type",
            "must be true or false",
        ),
        (
            {"inputs": "a", "webhook": "u"},
            "#/webhook",
            "wrong_type",
            "must be an object",
        ),
        (
            {"inputs": "a", "priority": "high"},
            "#/priority",
            "unknown_value",
            "must be 'interactive', 'normal' or 'bulk'",
        ),
        ({"inputs": "a", "timeout_s": 0}, "#/timeout_s", "out_of_range", "must be > 0 and <= 3600"),
        (
            {"inputs": "a", "metadata": {"a/b~ c": 1}},
            "#/metadata/a~1b~0%20c",
            "wrong_type",
            "must be a string",
        ),
        (
            {"inputs": ["a"] * 3, "parameters": {"num_return_sequences": 64}},
            "#/inputs",
            "conflict",
            "inputs times sequences is 192, at most 128",
        ),
    ],
)
def test_a_bad_field_is_named_with_its_bound(
    client: FlaskClient, body: dict[str, object], where: str, code: str, detail: str
) -> None:
    response = post(client, json.dumps(body))
    assert response.status_code == 422
    assert response.get_json()["errors"] == [{"pointer": where, "code": code, "detail": detail}]


@pytest.mark.parametrize(
    ("parameters", "where", "code", "detail"),
    [
        ({"top_p": 0}, "top_p", "out_of_range", "must be > 0 and <= 1"),
        ({"top_p": 1.5}, "top_p", "out_of_range", "must be > 0 and <= 1"),
        ({"top_k": 1.5}, "top_k", "wrong_type", "must be an integer"),
        ({"top_p": "1"}, "top_p", "wrong_type", "must be a number"),
        ({"do_sample": 1}, "do_sample", "wrong_type", "must be true or false"),
        ({"seed": 2**64}, "seed", "out_of_range", f"must be >= 0 and < {2**64}"),
        ({"stop": "x"}, "stop", "wrong_type", "must be an array"),
        ({"stop": [""]}, "stop/0", "out_of_range", "must have at least 1 character"),
        ({"watermark": True}, "watermark", "unknown_field", "there is no such field"),
        (
            {"do_sample": False, "num_return_sequences": 2},
            "do_sample",
            "conflict",
            "must be true for more than one sequence per input",
        ),
        ({"logit_bias": {"1": 101}}, "logit_bias/1", "out_of_range", "must be <= 100"),
    ],
)
def test_a_bad_parameter_is_named_with_its_bound(
    client: FlaskClient, parameters: dict[str, object], where: str, code: str, detail: str
) -> None:
    response = post(client, json.dumps({"inputs": "a", "parameters": parameters}))
    assert response.status_code == 422
    assert response.get_json()["errors"] == [
        {"pointer": f"#/parameters/{where}", "code": code, "detail": detail}
    ]


def test_a_key_that_is_no_token_id_is_pointed_at(client: FlaskClient) -> None:
    response = post(client, '{"inputs": "a", "parameters": {"logit_bias": {"the": 1}}}')
    (error,) = response.get_json()["errors"]
    assert error["pointer"] == "#/parameters/logit_bias/the"


def test_all_bad_fields_are_named_at_once(client: FlaskClient) -> None:
    body = {"inputs": "a", "parameters": {"top_p": 0, "top_k": -1}, "x": 1}
    problem = post(client, json.dumps(body)).get_json()
    assert problem["detail"] == "3 fields are invalid"
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"#/parameters/top_p", "#/parameters/top_k", "#/x"}


def test_of_very_many_bad_fields_the_first_hundred_are_listed(client: FlaskClient) -> None:
    body = {"inputs": "a", **{f"field{i}": 1 for i in range(500)}}
    problem = post(client, json.dumps(body)).get_json()
    assert problem["detail"] == "500 fields are invalid; the first 100 are listed"
    assert len(problem["errors"]) == 100


def test_of_far_too_many_bad_fields_the_number_is_told() -> None:
    client = make_client(MemoryStore())
    body = {"inputs": "a", **{str(i): 1 for i in range(10_001)}}
    problem = post(client, json.dumps(body)).get_json()
    assert problem["detail"] == "10001 fields are invalid, too many to list"


def test_a_pointer_escapes_what_json_pointers_and_urls_must() -> None:
    assert pointer(("a/b", "m~n", 0, "é")) == "#/a~1b/m~0n/0/%C3%A9"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["inputs", "parameters", "metadata", "priority", "timeout_s", "x"])
PARAMETERS = st.sampled_from(["top_p", "stop", "seed", "logit_bias", "best_of", "max_length", "x"])


@given(
    body=st.dictionaries(FIELDS, JSON | st.dictionaries(PARAMETERS, JSON, max_size=3), max_size=4)
)
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_json_makes_the_service_fail(client: FlaskClient, body: dict[str, object]) -> None:
    assert post(client, json.dumps(body)).status_code in (202, 400, 422)


@given(body=st.binary(max_size=60))
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_make_the_service_fail(client: FlaskClient, body: bytes) -> None:
    assert post(client, body).status_code in (400, 422)
