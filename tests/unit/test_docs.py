"""What the documents say of numbers and files is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distilq import access, deliveries, jobs, keys, parameters
from distilq.settings import Settings
from distilq.webhooks import dispatcher, schedule, sending

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
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
