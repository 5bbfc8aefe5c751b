"""`distilq keys` against a real Redis."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from distilq.access import KeyRing, Limits
from distilq.cli.app import app
from distilq.cli.redis_address import read_address, written_address


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], env=env)


@pytest.fixture
def ring(redis_client: Any) -> KeyRing:
    return KeyRing(redis_client)


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"DISTILQ_REDIS_URL": redis_url}


def test_the_token_stands_alone_on_standard_output(ring: KeyRing, env: dict[str, str]) -> None:
    made = run("create", "Anna's laptop", **env)
    assert made.exit_code == 0
    key = ring.verify(made.stdout.rstrip("\n"))
    assert key is not None
    assert (key.name, key.scopes) == ("Anna's laptop", ("jobs",))
    assert made.stderr.startswith(f"the key {key.id} of Anna's laptop")


def test_scope_and_limits_are_options(ring: KeyRing, env: dict[str, str]) -> None:
    options = ["--rate", "1", "--max-queued-jobs", "2", "--max-queued-tokens", "3"]
    made = run("create", "a", "--admin", *options, "--max-in-flight", "4", **env)
    key = ring.verify(made.stdout.strip())
    assert key is not None
    assert key.is_admin
    assert key.limits == Limits(
        rate_per_minute=1, max_queued_jobs=2, max_queued_tokens=3, max_in_flight=4
    )


def test_keys_are_listed_without_their_secrets(ring: KeyRing, env: dict[str, str]) -> None:
    token = run("create", "Anna", "--rate", "600", **env).stdout.strip()
    head, row = run("list", **env).stdout.splitlines()
    assert head.split()[:4] == ["id", "created", "scopes", "rate"]
    cells = row.split()
    assert (cells[0], cells[2:]) == (token.split("_")[1], ["jobs", "600", "0", "0", "0", "Anna"])
    assert token.split("_", 2)[2] not in row
    (found,) = map(json.loads, run("list", "--json", **env).stdout.splitlines())
    assert (found["id"], found["rate"], found["name"]) == (cells[0], "600", "Anna")


def test_a_revoked_key_is_gone(ring: KeyRing, env: dict[str, str]) -> None:
    token = run("create", "Anna", **env).stdout.strip()
    key_id = token.split("_")[1]
    assert run("revoke", key_id, **env).stdout == f"revoked {key_id}\n"
    assert ring.verify(token) is None
    again = run("revoke", key_id, **env)
    assert (again.exit_code, again.stderr) == (1, "distilq: no key has this id\n")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_a_name_that_cannot_be_is_one_line(env: dict[str, str], name: str) -> None:
    said = run("create", name, **env)
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == "distilq: a name has 1 to 100 printable characters\n"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:secret@127.0.0.1:1/0", "the Redis at redis://:***@127.0.0.1:1/0: "),
        ("localhost", "localhost is not the address of a Redis: "),
    ],
)
def test_a_redis_that_is_not_there_is_one_line(url: str, words: str) -> None:
    said = run("list", "--redis-url", url)
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"distilq: {words}")
    assert "secret" not in line


def test_the_redis_of_a_running_distilq_up_is_found_by_its_data_directory(
    ring: KeyRing, redis_url: str, tmp_path: Path
) -> None:
    with written_address(tmp_path, redis_url):
        assert stat.S_IMODE((tmp_path / "redis-url").stat().st_mode) == 0o600
        assert run("create", "a", "--data-dir", str(tmp_path)).exit_code == 0
        assert run("create", "b", DISTILQ_DATA_DIR=str(tmp_path)).exit_code == 0
    assert [key.name for key in ring.all()] == ["a", "b"]
    said = run("list", "--data-dir", str(tmp_path))
    assert said.exit_code == 1
    assert said.stderr.startswith(
        f"distilq: no `distilq up` runs with the data directory {tmp_path}"
    )


def test_a_file_or_link_that_was_left_there_is_replaced(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    (tmp_path / "redis-url").symlink_to(elsewhere)
    with written_address(tmp_path, "redis://h"):
        assert read_address(tmp_path) == "redis://h"
        assert not (tmp_path / "redis-url").is_symlink()
    assert elsewhere.read_text() == "x"
