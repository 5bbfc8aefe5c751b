"""Who reaches an address, and so whether keys are required."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from distilq.access import TOKEN, ApiKey, Limits
from distilq.loopback import is_loopback, keys_required
from distilq.settings import Auth, Settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
        ("", False),
        ("no-such-host.invalid", False),
        ("a" * 300, False),
    ],
)
def test_loopback_is_what_this_machine_alone_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("auth", "hosts", "required"),
    [
        ("auto", ["127.0.0.1"], False),
        ("auto", ["127.0.0.1", "::1"], False),
        ("auto", ["127.0.0.1", "0.0.0.0"], True),
        ("auto", [], True),
        ("on", ["127.0.0.1"], True),
        ("off", ["0.0.0.0"], False),
    ],
)
def test_keys_are_required_where_others_reach_it(
    auth: Auth, hosts: list[str], required: bool
) -> None:
    assert keys_required(auth, hosts) is required


def test_whether_keys_are_required_is_one_of_three_words() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"auth": "no"})


def test_a_key_is_an_owner_with_the_keys_caps() -> None:
    limits = Limits(max_queued_jobs=1, max_queued_tokens=2, max_in_flight=3)
    owner = ApiKey(name="a", limits=limits).owner()
    assert (owner.max_queued_jobs, owner.max_queued_tokens, owner.max_in_flight) == (1, 2, 3)
    assert not owner.sees_all
    assert ApiKey(name="a", scopes=("jobs", "admin")).owner().sees_all


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\x1b[2Jb"])
def test_a_name_cannot_forge_a_line(name: str) -> None:
    with pytest.raises(ValidationError):
        ApiKey(name=name)


@pytest.mark.parametrize("limits", [{"rate_per_minute": -1}, {"max_in_flight": 2**63}])
def test_limits_have_bounds(limits: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limits(**limits)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "dq_",
        "dq_" + "0" * 16 + "_" + "A" * 42,
        "dq_" + "0" * 16 + "_" + "A" * 43 + "\n",
        "dq_" + "G" * 16 + "_" + "A" * 43,
        "DQ_" + "0" * 16 + "_" + "A" * 43,
        "dq_" + "\u0660" * 16 + "_" + "A" * 43,
    ],
)
def test_nothing_else_looks_like_a_token(token: str) -> None:
    assert TOKEN.fullmatch(token) is None
