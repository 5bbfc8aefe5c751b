from __future__ import annotations

import os
from pathlib import Path

import pytest

from distilq.cli import programs
from distilq.cli.banner import banner
from distilq.cli.ports import why_unusable
from distilq.cli.preflight import ModelFound
from distilq.cli.up import Listen
from distilq.settings import Settings

FOUND = ModelFound(model="bundled", source="here", precision="float32", device="cpu")


def test_programs_get_every_setting_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    env = programs.environment(Settings(model="bundled", max_rows=3, data_dir=Path("elsewhere")))
    for name in [name for name in os.environ if name.startswith("DISTILQ_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == Settings(model="bundled", max_rows=3, data_dir=Path("elsewhere"))


def test_workers_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    threads = [
        programs.worker(settings, 1, of, 8000).env["DISTILQ_THREADS"]
        for settings, of in [(Settings(), 1), (Settings(), 3), (Settings(threads=5), 3)]
    ]
    assert threads == ["8", "2", "5"]


@pytest.mark.parametrize(
    ("seen", "gpus", "pinned"),
    [
        (None, 3, ["0", "1", "2", "0"]),
        ("4,GPU-8932f937", 2, ["4", "GPU-8932f937", "4", "GPU-8932f937"]),
        (None, 1, [None] * 4),
        (None, 0, [None] * 4),
        ("7", 1, ["7"] * 4),
    ],
)
def test_workers_of_one_machine_take_its_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch, seen: str | None, gpus: int, pinned: list[str | None]
) -> None:
    monkeypatch.delenv(programs.VISIBLE, raising=False)
    if seen is not None:
        monkeypatch.setenv(programs.VISIBLE, seen)
    workers = programs.workers(Settings(), 4, 8000, gpus)
    assert [worker.env.get(programs.VISIBLE) for worker in workers] == pinned


def test_no_secret_is_in_a_command_line() -> None:
    settings = Settings(redis_url="redis://:secret@h/0")
    for program in programs.api(settings, "h", 1), programs.worker(settings, 1, 1, 1):
        assert "secret" not in " ".join(program.command)
        assert "secret" in program.env["DISTILQ_REDIS_URL"]


@pytest.mark.parametrize(
    ("host", "url", "bound"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000", "0.0.0.0:8000"),
        ("::", "http://[::1]:8000", "[::]:8000"),
    ],
)
def test_the_address_to_open_is_one_that_a_browser_takes(host: str, url: str, bound: str) -> None:
    assert Listen(host, 8000).url == url
    command = programs.api(Settings(), host, 8000).command
    assert command[command.index("-b") + 1] == bound


def test_a_host_that_nobody_knows_is_said_in_words() -> None:
    assert why_unusable("no-such-host.invalid", 8000)


def test_a_fallback_model_is_said_loudly() -> None:
    note = "DistilGPT2 is not available; serving the small bundled model"
    loud = banner("http://h:1", FOUND.model_copy(update={"note": note}), Settings(), None)
    assert "BUNDLED" in loud
    assert note in loud
    assert "BUNDLED" not in banner("http://h:1", FOUND, Settings(), None)


def test_the_banner_hides_the_password_of_redis() -> None:
    said = banner("http://h:1", FOUND, Settings(redis_url="redis://:secret@h/0"), None)
    assert "redis://:***@h/0" in said


def test_the_banner_says_how_to_get_a_key_where_one_is_needed(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    said = banner("http://h:1", FOUND, Settings(auth="on"), folder)
    assert f"required; make one: distilq keys create NAME --data-dir '{folder}'" in said
    assert "-H 'Authorization: Bearer KEY'" in said
    joined = banner("http://h:1", FOUND, Settings(auth="on"), None)
    assert "distilq keys create NAME --redis-url URL" in joined


def test_the_banner_says_when_no_key_is_needed() -> None:
    said = banner("http://h:1", FOUND, Settings(auth="off"), None)
    assert "keys       not required" in said
    assert "Authorization" not in said


def test_the_api_has_few_heaps_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert programs.api(Settings(), "h", 1).env["MALLOC_ARENA_MAX"] == "2"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert programs.api(Settings(), "h", 1).env["MALLOC_ARENA_MAX"] == "7"
