"""What is copied runs, and gives what the page shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.writer import Writer
from tests.e2e.running import clean_environment

#: Quotes of every kind, a line end, a character of two UTF-16 units.
HARD = "\"It's $HOME\", he said;\n`the` \\ 'house' 🏠 was"


@pytest.fixture
def writer(open_page: Callable[..., Writer]) -> Writer:
    writer = open_page(permissions=["clipboard-read", "clipboard-write"])
    writer.page.wait_for_selector("#serving")
    writer.set(max_new_tokens=8, seed=11, top_k=0)
    writer.write(HARD)
    return writer


def copied(writer: Writer, language: str) -> str:
    writer.page.get_by_role("button", name="Copy as").click()
    writer.page.get_by_role("radio", name=language).check(force=True)
    writer.page.get_by_role("button", name="Copy", exact=True).click()
    writer.page.get_by_role("button", name="Copied").wait_for()
    return str(writer.page.evaluate("navigator.clipboard.readText()"))


def told(command: list[str], program: str, home: Path) -> str:
    said = subprocess.run(
        command, input=program, env=clean_environment(home), capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


def words(text: str) -> str:
    return " ".join(text.split())


def test_curl(writer: Writer, tmp_path: Path) -> None:
    shown = writer.three()
    job = json.loads(told(["sh", "-eu"], copied(writer, "curl"), tmp_path))
    assert [words(each["generated_text"]) for each in job["result"][0]] == [*map(words, shown)]


@pytest.mark.parametrize("language", ["Python SDK", "openai"])
def test_python(writer: Writer, tmp_path: Path, language: str) -> None:
    shown = writer.three()
    said = told([sys.executable, "-W", "error", "-"], copied(writer, language), tmp_path)
    assert [words(text) for text in said.split("---\n")[:3]] == [*map(words, shown)]


def test_before_anything_was_asked_it_is_what_would_be(writer: Writer, tmp_path: Path) -> None:
    job = json.loads(told(["sh", "-eu"], copied(writer, "curl"), tmp_path))
    writer.page.keyboard.press("Escape")
    shown = writer.three()
    assert [words(each["generated_text"]) for each in job["result"][0]] == [*map(words, shown)]
