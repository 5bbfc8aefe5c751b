"""The Prefer header, as RFC 7240 writes it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.prefer import preferences
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def client() -> FlaskClient:
    store = MemoryStore()
    store.on_wait = store.finish
    return make_client(store, max_wait_s=20)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("wait=10", {"wait": "10"}),
        ("respond-async, wait=10", {"respond-async": "", "wait": "10"}),
        ('Wait = "10"; foo=bar', {"wait": "10"}),
        ("wait=1, wait=2", {"wait": "1"}),
        ('priority="a,wait=9"; x="\\"", wait=3', {"priority": "a,wait=9", "wait": "3"}),
        ('foo; some-parameter, wait=3;a="b,c"', {"foo": "", "wait": "3"}),
        ("wait=", {"wait": ""}),
        ("=5, wait=3", {"wait": "3"}),
        ('wait="3', {}),
        ("", {}),
        (",,;", {}),
    ],
)
def test_preferences_are_read(header: str, found: dict[str, str]) -> None:
    assert preferences(header) == found


@pytest.mark.parametrize("hostile", ['"' * 8_000, "a=" * 4_000, '="' * 4_000, ";," * 4_000])
def test_a_hostile_header_is_read_in_no_time(hostile: str) -> None:
    assert "wait" not in preferences(hostile)


@pytest.mark.parametrize(
    ("header", "applied"),
    [
        ("wait=5", "wait=5"),
        ("wait=20", "wait=20"),
        ("wait=21", "wait=20"),
        ("wait=" + "9" * 5_000, "wait=20"),
        ("wait=" + "0" * 5_000 + "7", "wait=7"),
    ],
)
def test_a_wait_is_applied_up_to_the_limit(client: FlaskClient, header: str, applied: str) -> None:
    response = client.post("/v1/jobs", json={"inputs": "a"}, headers={"Prefer": header})
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == applied
    assert response.headers["Vary"] == "Prefer"


@pytest.mark.parametrize("wait", ["-1", "1.5", "ten", "", "1e1", "\u0661", "0x1", "1 0"])
def test_a_wait_that_is_no_number_is_ignored(client: FlaskClient, wait: str) -> None:
    response = client.post("/v1/jobs", json={"inputs": "a"}, headers={"Prefer": f"wait={wait}"})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers
