"""A test client that holds every answer against the OpenAPI document."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from api.app import create_app
from api.openapi import RESPONSE_HEADERS, document
from distilq.archive import Library
from distilq.settings import Settings
from distilq.testing import MemoryRing, MemoryStore
from distilq.testing_library import memory_library

CARD_REQUEST = {
    "inputs": {"input_string": ["My name is John and I am", "Once upon a time,"]},
    "parameters": {"min_length": 20, "max_length": 30, "num_return_sequences": 2},
}


def make_client(
    store: MemoryStore,
    ring: MemoryRing | None = None,
    library: Library | None = None,
    **settings: Any,
) -> FlaskClient:
    """A client of an API for the keys of `ring`; without one keys are off."""
    known = Settings(auth="on" if ring else "off", **settings)
    app = create_app(known, store, ring, library or memory_library())
    app.test_client_class = CheckedClient
    return app.test_client()


class CheckedClient(FlaskClient):
    """Fails on a status, a header or a body that the document does not describe."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        check(response)
        return response


def check(response: TestResponse) -> None:
    operation = _operation(response)
    if operation is None:
        assert response.status_code in (200, 404, 405), response.text
        return
    described = operation["responses"].get(str(response.status_code))
    assert described is not None, f"{response.status} is not in the document: {response.text}"
    for header in (*RESPONSE_HEADERS.keys() - {"Vary"},):
        assert header not in response.headers or header in described["headers"], header
    if response.request.method != "HEAD" and "content" in described:
        _check_body(response, described["content"])


def _operation(response: TestResponse) -> dict[str, Any] | None:
    for path, methods in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), response.request.path):
            method = response.request.method.lower()
            found: dict[str, Any] | None = methods.get("get" if method == "head" else method)
            return found
    return None


def _check_body(response: TestResponse, content: dict[str, Any]) -> None:
    assert any(fnmatch(str(response.mimetype), described) for described in content)
    if response.is_json:
        schema = {
            "components": document()["components"],
            **content[str(response.mimetype)]["schema"],
        }
        Draft202012Validator(schema).validate(response.get_json())
