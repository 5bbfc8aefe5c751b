"""The OpenAPI document describes this API, all of it, and nothing else."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from api.app import create_app
from api.openapi import document
from distilq.errors import DistilqError
from distilq.jobs import JobRequest, ScoreRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client


def operations() -> set[tuple[str, str]]:
    return {(m, p) for p, item in document()["paths"].items() for m in item if m != "parameters"}


def test_it_is_a_valid_openapi_3_1_document() -> None:
    assert document()["openapi"].startswith("3.1")
    validate(document())


def test_it_is_served_as_it_is() -> None:
    response = make_client(MemoryStore()).get("/openapi.json")
    assert response.mimetype == "application/json"
    assert response.get_json() == document()


def test_it_has_every_route_and_no_other() -> None:
    routes = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in create_app(Settings(auth="off"), MemoryStore()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert operations() == routes


@pytest.mark.parametrize(("method", "path"), sorted(operations()))
def test_every_operation_is_named_and_says_what_its_answers_carry(method: str, path: str) -> None:
    operation = document()["paths"][path][method]
    assert operation["summary"]
    assert operation["operationId"]
    assert "500" in operation["responses"]
    for response in operation["responses"].values():
        assert response["description"]
        assert "X-Request-Id" in response["headers"]


def test_operation_ids_are_unique() -> None:
    ids = [document()["paths"][path][method]["operationId"] for method, path in operations()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("model", [JobRequest, ScoreRequest, Parameters])
def test_every_field_and_bound_comes_from_the_models_that_validate(
    model: type[JobRequest] | type[ScoreRequest] | type[Parameters],
) -> None:
    schema = document()["components"]["schemas"][model.__name__]
    assert set(schema["properties"]) == set(model.model_fields)
    assert schema["additionalProperties"] is False


def test_bounds_are_in_the_schema() -> None:
    top_p = document()["components"]["schemas"]["Parameters"]["properties"]["top_p"]
    assert (top_p["exclusiveMinimum"], top_p["maximum"]) == (0, 1)


def test_every_error_that_a_route_can_answer_is_described_by_its_code() -> None:
    text = str(document()["paths"])
    # The first belongs to no route, the other to the start.
    never_answered = {"method_not_allowed", "volatile_store"}

    def leaves(error: type[DistilqError]) -> list[type[DistilqError]]:
        return [leaf for sub in error.__subclasses__() for leaf in leaves(sub)] or [error]

    # Others, such as a worker's at its start, never reach a client.
    tree = [error for error in leaves(DistilqError) if error.__module__ == "distilq.errors"]
    for error in tree:
        assert (f"`{error.code}`" in text) != (error.code in never_answered), error


def test_queries_are_described_with_their_bounds() -> None:
    parameters = document()["paths"]["/v1/jobs"]["get"]["parameters"]
    limit = next(p for p in parameters if p["name"] == "limit")
    assert limit["in"] == "query"
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 200)


def test_limits_bear_their_names_in_json_schema() -> None:
    parameters = document()["components"]["schemas"]["Parameters"]["properties"]
    best_of = parameters["best_of"]["anyOf"][0]
    assert (best_of["minimum"], best_of["maximum"]) == (1, 64)
    assert parameters["seed"]["anyOf"][0]["exclusiveMaximum"] == 2**64
    assert parameters["logit_bias"]["additionalProperties"] is False


def test_every_body_has_an_example_that_is_valid() -> None:
    shown = 0
    for method, path in operations():
        body = document()["paths"][path][method].get("requestBody", {"content": {}})
        for content in body["content"].values():
            schema = {**content["schema"], "components": document()["components"]}
            Draft202012Validator(schema).validate(content["example"])
            shown += 1
    assert shown > 8
