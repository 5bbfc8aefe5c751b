"""What the documents say of numbers, files, commands and pictures is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from distilq import access, deliveries, jobs, keys, parameters
from distilq.cli.app import app
from distilq.settings import Settings
from distilq.webhooks import dispatcher, schedule, sending
from docs.building import wording

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
IMAGES = sorted((ROOT / "docs/images").iterdir())
TOPS = ("distilq", "api", "worker", "tests", "benchmarks", "deploy", "docs")
LIMITS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/limits.md").read_text().splitlines()
    if line.startswith("|")
]


def numbers(cell: str) -> set[int]:
    return {int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", cell)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_has_its_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_limits_are_the_defaults_of_their_settings() -> None:
    found = {}
    for _, value, variable in LIMITS:
        for name in re.findall(r"`DISTILQ_(\w+)`", variable):
            found[name.lower()] = Settings.model_fields[name.lower()].default
            assert found[name.lower()] in numbers(value), name
    assert len(found) >= 7


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("jobs per `/v1/jobs:batch`", jobs.MAX_BATCH_JOBS),
        ("ids per `/v1/jobs:status`", jobs.MAX_STATUS_IDS),
        ("inputs per job", jobs.MAX_INPUTS),
        ("characters, or token ids, per input", jobs.MAX_INPUT_CHARS),
        ("rows per job", jobs.MAX_ROWS),
        ("`max_new_tokens`", parameters.MAX_NEW_TOKENS),
        ("an expired job's id is known", keys.TOMBSTONE_S),
        ("seconds that a revoked key", access.CACHED_S),
        ("webhook: address", jobs.MAX_URL_CHARS),
        ("webhook: attempts, from", len(schedule.PAUSES_S) + 1),
        ("webhook: one attempt", sending.ATTEMPT_S),
        ("webhook: longest `Retry-After`", schedule.MOST_RETRY_AFTER_S),
        ("webhook: attempts that", deliveries.ATTEMPTS_KEPT),
        ("webhooks under way at once", dispatcher.AT_ONCE),
        ("webhooks under way at once", dispatcher.PER_HOST),
        ("an `Idempotency-Key` is known", keys.ONCE_S),
    ],
)
def test_the_limits_are_the_constants_of_the_code(words: str, limit: float) -> None:
    [value] = [value for what, value, _ in LIMITS if what.startswith(words)]
    assert limit in numbers(value)


def test_every_file_that_a_page_names_is_there() -> None:
    found = [*ROOT.glob("*.*"), *(file for top in TOPS for file in (ROOT / top).rglob("*.*"))]
    files = [f"/{file.relative_to(ROOT)}" for file in found]
    for page in PAGES:
        for name in re.findall(r"`([\w/.-]+\.(?:py|lua|yml|toml))`", page.read_text()):
            assert any(file.endswith(f"/{name}") for file in files), f"{page.name}: {name}"


def test_every_command_that_a_page_names_is_one() -> None:
    commands = get_command(app)
    for page in PAGES:
        for words in re.findall(r"`distilq ([a-z]+(?: [a-z]+)?)", page.read_text()):
            assert _is_command(commands, words.split()), f"{page.name}: distilq {words}"


def _is_command(group: Any, words: list[str]) -> bool:
    if words and hasattr(group, "commands"):
        return words[0] in group.commands and _is_command(group.commands[words[0]], words[1:])
    return not words or not hasattr(group, "commands")


def test_every_target_that_a_page_names_is_one() -> None:
    targets = re.findall(r"^([a-z0-9 -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page in PAGES:
        for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text()):
            assert target in " ".join(targets).split(), f"{page.name}: make {target}"


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_every_picture_is_shown_and_drawn_or_made_by_the_browser_tests(image: Path) -> None:
    assert any(f"images/{image.name}" in page.read_text() for page in PAGES)
    if image.suffix != ".svg":
        shown = re.sub(r"(-phone)?(-dark)?$", "", image.stem)
        sources = [test.read_text() for test in (ROOT / "tests/browser").glob("test_*.py")]
        assert any(f'"{shown}"' in source and "IMAGES" in source for source in sources)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_that_a_page_shows_is_there(page: Path) -> None:
    for target in re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_picture_of_how_it_works_has_the_steps_of_the_page() -> None:
    picture = (ROOT / "docs/images/how-it-works.svg").read_text()
    page = (ROOT / "docs/how-it-works.md").read_text()
    drawn = re.findall(r'class="number"[^>]*>(\d+)<', picture)
    assert sorted(drawn) == re.findall(r"^(\d+)\. \*\*`[\w/]+\.py`\*\*", page, re.MULTILINE)
    assert f"{keys.LEASE_S} s, renewed" in picture


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 1024}, "integer, 0 to 1,024"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number, above 0, at most 1"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": "array", "items": {"$ref": "#/x/Job"}}, "list of [Job](api-objects.md#Job)"),
        ({"enum": ["a", "b|c"]}, r'`"a"`, `"b\|c"`'),
        (
            {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
            "list of (string, at most 5 characters), at most 2 of them",
        ),
    ],
)
def test_a_schema_is_told_in_words(schema: dict[str, object], said: str) -> None:
    assert wording.words(schema) == said
